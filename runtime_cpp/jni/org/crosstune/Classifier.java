package org.crosstune;

import java.nio.charset.StandardCharsets;

/** Classifies texts with a CrossTune bundle. Thread-safe until it is closed. */
public final class Classifier implements AutoCloseable {
  static {
    System.loadLibrary("crosstune_jni");
  }

  /** The answer for one text. */
  public static final class Answer {
    /** The most probable label; null when it is below the bundle's threshold. */
    public final String label;
    /** The probability of the most probable label, even when {@code label} is null; in [0, 1]. */
    public final float prob;
    /** Whether the text was too long and was truncated. */
    public final boolean truncated;

    Answer(String label, float prob, boolean truncated) {
      this.label = label;
      this.prob = prob;
      this.truncated = truncated;
    }
  }

  private long handle;

  /**
   * Loads a bundle and checks every byte of it.
   *
   * @param bundle path of the bundle folder, or of a file written by crosstune-export pack
   * @param onnxruntime file name of the onnxruntime library; null: searched as crosstune.h says
   * @throws IllegalArgumentException when the bundle is invalid or onnxruntime is missing; the message says why
   */
  public Classifier(String bundle, String onnxruntime) {
    handle = create(utf8(bundle), onnxruntime == null ? null : utf8(onnxruntime));
  }

  /** Classifies one text. */
  public Answer classify(String text) {
    if (handle == 0) throw new IllegalStateException("classifier: closed, expected an open one.");
    return classify(handle, utf8(text));
  }

  @Override
  public void close() {
    destroy(handle);
    handle = 0;
  }

  private static byte[] utf8(String text) {
    return text.getBytes(StandardCharsets.UTF_8);
  }

  private static native long create(byte[] bundle, byte[] onnxruntime);

  private static native Answer classify(long handle, byte[] text);

  private static native void destroy(long handle);
}
