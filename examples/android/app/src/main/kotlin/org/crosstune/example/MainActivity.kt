package org.crosstune.example

import android.app.Activity
import android.os.Bundle
import android.text.Editable
import android.text.TextWatcher
import android.widget.EditText
import android.widget.LinearLayout
import android.widget.TextView
import java.util.concurrent.Executors
import org.crosstune.Classifier

/** A field for a text, and below it the label that it gets while you type. */
class MainActivity : Activity() {
    private val worker = Executors.newSingleThreadExecutor()
    private var classifier: Classifier? = null // used by the worker only
    @Volatile private var latest = ""

    override fun onCreate(state: Bundle?) {
        super.onCreate(state)
        val field = EditText(this).apply { hint = "Type a text" }
        val answer = TextView(this).apply { textSize = 24f }
        setContentView(
            LinearLayout(this).apply {
                orientation = LinearLayout.VERTICAL
                setPadding(48, 96, 48, 48)
                addView(field)
                addView(answer)
            },
        )
        worker.execute {
            try {
                classifier = openClassifier(this)
            } catch (error: IllegalArgumentException) { // the message names the file and the next step
                runOnUiThread { answer.text = error.message }
            }
        }
        field.addTextChangedListener(
            object : TextWatcher {
                override fun afterTextChanged(text: Editable) {
                    latest = text.toString()
                    worker.execute { label(latest, answer) }
                }

                override fun beforeTextChanged(text: CharSequence, start: Int, count: Int, after: Int) = Unit

                override fun onTextChanged(text: CharSequence, start: Int, before: Int, count: Int) = Unit
            },
        )
    }

    private fun label(text: String, answer: TextView) {
        val loaded = classifier ?: return
        if (text != latest) return // a newer one waits
        val line = if (text.isBlank()) "" else describe(loaded.classify(text))
        runOnUiThread { if (text == latest) answer.text = line }
    }

    override fun onDestroy() {
        worker.execute { classifier?.close() }
        worker.shutdown()
        super.onDestroy()
    }
}
