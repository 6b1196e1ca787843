plugins {
    id("com.android.application")
    id("org.jetbrains.kotlin.android")
}

fun setting(name: String): String = providers.gradleProperty(name).get()

val repository = rootDir.resolve("../..")

android {
    namespace = "org.crosstune.example"
    compileSdk = 35
    ndkVersion = "27.2.12479018"

    defaultConfig {
        applicationId = "org.crosstune.example"
        minSdk = 26
        targetSdk = 35
        versionCode = 1
        versionName = "1.0"
        ndk { abiFilters += "arm64-v8a" }
        externalNativeBuild {
            cmake {
                targets += "crosstune_jni"
                arguments += listOf(
                    "-DANDROID_STL=c++_static",
                    "-DORT_INCLUDE_DIR=${setting("crosstune.onnxruntime.headers")}",
                    "-DJSON_INCLUDE_DIR=${setting("crosstune.json.headers")}",
                    "-DOPENSSL_ROOT_DIR=${setting("crosstune.openssl")}",
                    "-DOPENSSL_USE_STATIC_LIBS=ON",
                    "-DCROSSTUNE_CHARACTER_TABLES=${repository.resolve("build/cpp/release/character_tables.inc")}",
                )
            }
        }
    }
    externalNativeBuild { cmake { path = file("src/main/cpp/CMakeLists.txt") } }
    // org.crosstune.Classifier, which calls the native library.
    sourceSets["main"].java.srcDir(repository.resolve("runtime_cpp/jni"))
    // The bundle is in src/main/assets. Its graph must not be compressed twice.
    androidResources { noCompress += "onnx" }
    compileOptions {
        sourceCompatibility = JavaVersion.VERSION_17
        targetCompatibility = JavaVersion.VERSION_17
    }
    kotlinOptions { jvmTarget = "17" }
}

dependencies {
    implementation("com.microsoft.onnxruntime:onnxruntime-android:1.20.0")
}
