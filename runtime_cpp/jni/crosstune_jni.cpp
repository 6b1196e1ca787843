// org.crosstune.Classifier on top of the C ABI. Texts are passed as UTF-8 bytes, because JNI's own UTF functions use another
// encoding for characters beyond U+FFFF.
#include <jni.h>

#include <string>

#include "crosstune.h"

namespace {

std::string bytes_of(JNIEnv* env, jbyteArray array) {
  std::string bytes(static_cast<std::size_t>(env->GetArrayLength(array)), '\0');
  env->GetByteArrayRegion(array, 0, static_cast<jsize>(bytes.size()), reinterpret_cast<jbyte*>(bytes.data()));
  return bytes;
}

jstring string_of(JNIEnv* env, const char* utf8) {
  const std::string bytes = utf8;
  const auto size = static_cast<jsize>(bytes.size());
  const jbyteArray array = env->NewByteArray(size);
  env->SetByteArrayRegion(array, 0, size, reinterpret_cast<const jbyte*>(bytes.data()));
  const jclass string = env->FindClass("java/lang/String");
  const jmethodID constructor = env->GetMethodID(string, "<init>", "([BLjava/lang/String;)V");
  return static_cast<jstring>(env->NewObject(string, constructor, array, env->NewStringUTF("UTF-8")));
}

void throw_last_error(JNIEnv* env) {
  const jclass type = env->FindClass("java/lang/IllegalArgumentException");
  const jmethodID constructor = env->GetMethodID(type, "<init>", "(Ljava/lang/String;)V");
  env->Throw(static_cast<jthrowable>(env->NewObject(type, constructor, string_of(env, crosstune_error()))));
}

crosstune_classifier* classifier_of(jlong handle) { return reinterpret_cast<crosstune_classifier*>(handle); }

}  // namespace

extern "C" {

JNIEXPORT jlong JNICALL Java_org_crosstune_Classifier_create(JNIEnv* env, jclass, jbyteArray bundle,
                                                             jbyteArray onnxruntime) {
  crosstune_options* options = nullptr;
  crosstune_classifier* classifier = nullptr;
  crosstune_status status = crosstune_options_create(&options);
  if (status == CROSSTUNE_OK && onnxruntime != nullptr)
    status = crosstune_options_set_onnxruntime(options, bytes_of(env, onnxruntime).c_str());
  if (status == CROSSTUNE_OK) status = crosstune_classifier_create(bytes_of(env, bundle).c_str(), options, &classifier);
  crosstune_options_destroy(options);
  if (status != CROSSTUNE_OK) throw_last_error(env);
  return reinterpret_cast<jlong>(classifier);
}

JNIEXPORT jobject JNICALL Java_org_crosstune_Classifier_classify(JNIEnv* env, jclass, jlong handle, jbyteArray text) {
  const crosstune_classifier* classifier = classifier_of(handle);
  const std::string bytes = bytes_of(env, text);
  const crosstune_text input = {bytes.data(), bytes.size(), nullptr, 0};
  crosstune_answer answer;
  if (crosstune_classify(classifier, &input, &answer, nullptr) != CROSSTUNE_OK) {
    throw_last_error(env);
    return nullptr;
  }
  const jclass type = env->FindClass("org/crosstune/Classifier$Answer");
  const jmethodID constructor = env->GetMethodID(type, "<init>", "(Ljava/lang/String;FZ)V");
  const jstring label =
      answer.label < 0 ? nullptr : string_of(env, crosstune_label(classifier, static_cast<std::size_t>(answer.label)));
  return env->NewObject(type, constructor, label, answer.prob, static_cast<jboolean>(answer.truncated));
}

JNIEXPORT void JNICALL Java_org_crosstune_Classifier_destroy(JNIEnv*, jclass, jlong handle) {
  crosstune_classifier_destroy(classifier_of(handle));
}

}  // extern "C"
