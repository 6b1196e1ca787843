package org.crosstune.example

import android.content.Context
import java.io.File
import org.crosstune.Classifier

private const val BUNDLE = "phone.bundle"
private val FILES = listOf("manifest.json", "model.onnx", "tokenizer.json", "selftest.json", "README.md")

/** Copies the bundle from the app's assets, because the library reads a folder, and loads it. Takes a second: not on the main thread. */
fun openClassifier(context: Context): Classifier {
    val folder = File(context.filesDir, BUNDLE).apply { mkdirs() }
    for (name in FILES) {
        context.assets.open("$BUNDLE/$name").use { from -> File(folder, name).outputStream().use(from::copyTo) }
    }
    return Classifier(folder.path, "libonnxruntime.so")
}

/** The line that the screen shows for an answer. */
fun describe(answer: Classifier.Answer): String =
    (answer.label ?: "no label") + " (%.0f%%)".format(100 * answer.prob) + if (answer.truncated) ", text truncated" else ""
