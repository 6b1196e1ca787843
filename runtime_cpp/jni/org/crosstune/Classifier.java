package org.crosstune;

import java.nio.charset.StandardCharsets;

/** Labels texts with a CrossTune bundle. Safe in many threads at once, until it is closed. */
public final class Classifier implements AutoCloseable {
  static {
    System.loadLibrary("crosstune_jni");
  }

  /** What a classifier says of one text. */
  public static final class Answer {
    /** The most probable label, or null when the bundle's rule gives none. */
    public final String label;
    /** Its probability, also where {@code label} is null. */
    public final float prob;
    /** Whether the text was longer than the backbone reads. */
    public final boolean truncated;

    Answer(String label, float prob, boolean truncated) {
      this.label = label;
      this.prob = prob;
      this.truncated = truncated;
    }
  }

  private long handle;

  /**
   * Reads a bundle, a folder or the one file that crosstune-export pack makes of it, and checks every byte of it.
   *
   * @param bundle path of the folder, for example of files that were copied out of the app's assets
   * @param onnxruntime file name of the library, or null: found as crosstune.h says
   * @throws IllegalArgumentException the bundle is refused, or there is no onnxruntime; the message says why
   */
  public Classifier(String bundle, String onnxruntime) {
    handle = create(utf8(bundle), onnxruntime == null ? null : utf8(onnxruntime));
  }

  /** Labels one text. */
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
