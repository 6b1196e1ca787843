import { droppedFiles } from "./dropped_files.js";
import { element, make } from "./elements.js";
import { Engine, EngineError } from "./engine.js";
import { ManyTexts } from "./many_texts.js";
import type { BundleFacts, Source } from "./messages.js";
import { OneText } from "./one_text.js";
import { Reasons } from "./reasons.js";

/** Where `crosstune-export web` serves its bundle. */
const SERVED = new URL("./bundle/", document.baseURI).href;

const engine = new Engine();
const errorLine = element("error", HTMLElement);
const loadedLine = element("loaded", HTMLElement);
const bar = element("loading", HTMLProgressElement);
const servedButton = element("served", HTMLButtonElement);
const facts = element("bundle-facts", HTMLElement);

const classify = (text: string, pair: string | null) => engine.ask("classify", { text, pair, threshold: oneText.threshold });
const reasons = new Reasons((text, pair) => engine.ask("explain", { text, pair }), showError);
const oneText: OneText = new OneText(classify, reasons, showError);
const manyTexts = new ManyTexts(classify);

function showError(error: unknown): void {
  const ours = error instanceof EngineError && error.isOurs;
  errorLine.textContent = ours ? error.message : `Something is wrong with this page: ${String(error)}. Reload it.`;
  errorLine.hidden = false;
}

let current: BundleFacts | undefined;
let loading = false;

async function use(source: Source): Promise<void> {
  if (loading) return;
  loading = true;
  errorLine.hidden = true;
  bar.hidden = false;
  bar.removeAttribute("value");
  loadedLine.textContent = "Loading the bundle…";
  try {
    current = await engine.ask("load", { source }, (received, total) => {
      bar.value = received / total;
      loadedLine.textContent = `Loading the bundle: ${megabytes(received)} of ${megabytes(total)} MB`;
    });
    servedButton.hidden = source === SERVED;
    oneText.setBundle(current);
    manyTexts.setBundle(current);
    showFacts(current, "running…");
    void selftest(current);
  } catch (error) {
    showError(error);
  } finally {
    loading = false;
    bar.hidden = true;
    loadedLine.textContent = current === undefined ? "No bundle is loaded." : `${current.name} is ready: ${current.labels.length} labels.`;
  }
}

async function selftest(bundle: BundleFacts): Promise<void> {
  const outcome = await engine.ask("selftest", {}).then(
    ({ samples, passed, maxDifference }) =>
      `${passed ? "passed" : "FAILED"}, ${samples} samples, probabilities differ by at most ${maxDifference.toExponential(1)}`,
    (error: unknown) => (error instanceof Error ? error.message : String(error)),
  );
  if (current === bundle) showFacts(bundle, outcome);
}

function showFacts(bundle: BundleFacts, selftestOutcome: string): void {
  const entries = {
    Name: bundle.name,
    Labels: String(bundle.labels.length),
    Precision: bundle.precision,
    Size: `${megabytes(bundle.sizeBytes)} MB`,
    "Longest text": `${bundle.maxLengthTokens} tokens`,
    Digest: bundle.digest.slice(0, 12),
    "Self-test in this browser": selftestOutcome,
  };
  facts.replaceChildren(
    ...Object.entries(entries).map(([name, value]) => {
      const fact = document.createElement("div");
      fact.append(make("dt", "", name), make("dd", "", value));
      return fact;
    }),
  );
}

function megabytes(bytes: number): string {
  return (bytes / 1e6).toFixed(1);
}

for (const kind of ["folder", "files"]) {
  const input = element(kind, HTMLInputElement);
  element(`choose-${kind}`, HTMLButtonElement).addEventListener("click", () => input.click());
  input.addEventListener("change", () => {
    const chosen = Array.from(input.files ?? []);
    input.value = ""; // so that choosing the same again is a change
    if (chosen.length > 0) void use(chosen);
  });
}
servedButton.addEventListener("click", () => void use(SERVED));

const dropCard = element("drop", HTMLElement);
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  dropCard.classList.add("over");
});
document.addEventListener("dragleave", (event) => {
  if (event.relatedTarget === null) dropCard.classList.remove("over");
});
document.addEventListener("drop", (event) => {
  event.preventDefault();
  dropCard.classList.remove("over");
  if (event.dataTransfer !== null) void droppedFiles(event.dataTransfer).then(use, showError);
});

void use(SERVED);
