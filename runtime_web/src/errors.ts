// The ways in which loading and running a bundle can fail, one class each, as in the Python runtime.
// Every message is one line: `where: found, expected. Next step.`

/** Root of all errors of this package; never thrown itself. */
export class CrossTuneError extends Error {
  override readonly name: string = "CrossTuneError";
}

/** An argument that cannot be used as given. */
export class ConfigError extends CrossTuneError {
  override readonly name: string = "ConfigError";
}

/** The browser or the page lacks something that no code can make up for. */
export class PlatformError extends CrossTuneError {
  override readonly name: string = "PlatformError";
}

/** A text that cannot be classified. */
export class DataError extends CrossTuneError {
  override readonly name: string = "DataError";
}

/** A bundle that is refused. */
export class BundleError extends CrossTuneError {
  override readonly name: string = "BundleError";
}

/** A file of the bundle cannot be had from where it should be. */
export class BundleFetchError extends BundleError {
  override readonly name: string = "BundleFetchError";
}

/** A file of the bundle is foreign, or not the bytes that were built. */
export class BundleIntegrityError extends BundleError {
  override readonly name: string = "BundleIntegrityError";
}

/** The bundle is of a format, or needs a runtime, that is not here. */
export class BundleVersionError extends BundleError {
  override readonly name: string = "BundleVersionError";
}

/** The bytes are as built, and what they say is not a usable bundle. */
export class BundleContentError extends BundleError {
  override readonly name: string = "BundleContentError";
}
