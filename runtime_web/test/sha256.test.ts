import { afterEach, expect, test, vi } from "vitest";
import { PlatformError } from "../src/errors.js";
import { sha256 } from "../src/bundle/sha256.js";

afterEach(() => vi.unstubAllGlobals());

test("hashes the examples of the standard", async () => {
  expect(await sha256(new TextEncoder().encode("abc"))).toBe("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  expect(await sha256(new Uint8Array())).toBe("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
});

test("says how to get WebCrypto when the page has none", async () => {
  vi.stubGlobal("crypto", {});
  await expect(sha256(new Uint8Array())).rejects.toThrow(
    new PlatformError(
      "WebCrypto: not available, expected for the hashes of the bundle. Browsers offer it only on https and on localhost. " +
        "Serve the page over https, or open it on the machine that serves it.",
    ),
  );
});
