// org.crosstune.Classifier over the C ABI.
#include <jni.h>

#include <string>
#include <vector>

#include "crosstune.h"

namespace {

void throw_last_error(JNIEnv* env) {
  env->ThrowNew(env->FindClass("java/lang/IllegalArgumentException"), crosstune_error());
}

// Java's own encoding differs from UTF-8 beyond U+FFFF and in NUL, which paths do not have.
std::string path_of(JNIEnv* env, jstring text) {
  const char* characters = env->GetStringUTFChars(text, nullptr);
  std::string path = characters == nullptr ? "" : characters;
  env->ReleaseStringUTFChars(text, characters);
  return path;
}

jstring string_of(JNIEnv* env, const char* utf8) {
  const std::string bytes = utf8;
  const auto size = static_cast<jsize>(bytes.size());
  const jbyteArray array = env->NewByteArray(size);
  env->SetByteArrayRegion(array, 0, size, reinterpret_cast<const jbyte*>(bytes.data()));
  const jclass string = env->FindClass("java/lang/String");
  const jmethodID make = env->GetMethodID(string, "<init>", "([BLjava/lang/String;)V");
  return static_cast<jstring>(env->NewObject(string, make, array, env->NewStringUTF("UTF-8")));
}

crosstune_classifier* classifier_of(jlong handle) { return reinterpret_cast<crosstune_classifier*>(handle); }

}  // namespace

extern "C" {

JNIEXPORT jlong JNICALL Java_org_crosstune_Classifier_create(JNIEnv* env, jclass, jstring bundle, jstring onnxruntime) {
  crosstune_options* options = nullptr;
  crosstune_classifier* classifier = nullptr;
  crosstune_status status = crosstune_options_create(&options);
  if (status == CROSSTUNE_OK && onnxruntime != nullptr)
    status = crosstune_options_set_onnxruntime(options, path_of(env, onnxruntime).c_str());
  if (status == CROSSTUNE_OK) status = crosstune_classifier_create(path_of(env, bundle).c_str(), options, &classifier);
  crosstune_options_destroy(options);
  if (status != CROSSTUNE_OK) throw_last_error(env);
  return reinterpret_cast<jlong>(classifier);
}

JNIEXPORT jobject JNICALL Java_org_crosstune_Classifier_classify(JNIEnv* env, jclass, jlong handle, jbyteArray text) {
  const crosstune_classifier* classifier = classifier_of(handle);
  std::vector<char> bytes(static_cast<std::size_t>(env->GetArrayLength(text)));
  env->GetByteArrayRegion(text, 0, static_cast<jsize>(bytes.size()), reinterpret_cast<jbyte*>(bytes.data()));
  const crosstune_text input = {bytes.data(), bytes.size(), nullptr, 0};
  crosstune_answer answer;
  if (crosstune_classify(classifier, &input, &answer, nullptr) != CROSSTUNE_OK) {
    throw_last_error(env);
    return nullptr;
  }
  const jclass kind = env->FindClass("org/crosstune/Classifier$Answer");
  const jmethodID make = env->GetMethodID(kind, "<init>", "(Ljava/lang/String;FZ)V");
  const jstring label =
      answer.label < 0 ? nullptr : string_of(env, crosstune_label(classifier, static_cast<std::size_t>(answer.label)));
  return env->NewObject(kind, make, label, answer.prob, static_cast<jboolean>(answer.truncated));
}

JNIEXPORT void JNICALL Java_org_crosstune_Classifier_destroy(JNIEnv*, jclass, jlong handle) {
  crosstune_classifier_destroy(classifier_of(handle));
}

}  // extern "C"
