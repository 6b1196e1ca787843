// The errors of this package. Each class is one way to fail, as in the Python runtime.
// Every message is one line: `where: found, expected. Next step.`

/** Base class of all errors of this package; never thrown itself. */
export class CrossTuneError extends Error {
  override readonly name: string = "CrossTuneError";
}

/** An argument is invalid. */
export class ConfigError extends CrossTuneError {
  override readonly name: string = "ConfigError";
}

/** The browser or the page lacks a required feature. */
export class PlatformError extends CrossTuneError {
  override readonly name: string = "PlatformError";
}

/** A text cannot be classified. */
export class DataError extends CrossTuneError {
  override readonly name: string = "DataError";
}

/** A bundle cannot be used. */
export class BundleError extends CrossTuneError {
  override readonly name: string = "BundleError";
}

/** A file of the bundle cannot be fetched. */
export class BundleFetchError extends BundleError {
  override readonly name: string = "BundleFetchError";
}

/** A file of the bundle is missing, unexpected, or differs from the file that was built. */
export class BundleIntegrityError extends BundleError {
  override readonly name: string = "BundleIntegrityError";
}

/** The bundle needs a newer version of this package or of onnxruntime. */
export class BundleVersionError extends BundleError {
  override readonly name: string = "BundleVersionError";
}

/** The files are as they were built, but their contents are not a usable bundle. */
export class BundleContentError extends BundleError {
  override readonly name: string = "BundleContentError";
}
