import { droppedFiles } from "./dropped_files.js";
import { create, element } from "./elements.js";
import { ExplanationView } from "./explanation_view.js";
import { ManyTexts } from "./many_texts.js";
import type { BundleFacts, Source } from "./messages.js";
import { OneText } from "./one_text.js";
import { holdsTexts } from "./table_files.js";
import { WorkerClient, WorkerError } from "./worker_client.js";

/** The bundle that `crosstune-export web` serves with this page. */
const SERVED_BUNDLE = new URL("./bundle/", document.baseURI).href;

const worker = new WorkerClient();
const errorLine = element("error", HTMLElement);
const statusLine = element("status", HTMLElement);
const progressBar = element("loading", HTMLProgressElement);
const servedButton = element("served", HTMLButtonElement);
const factsList = element("bundle-facts", HTMLElement);

const classify = (text: string, pair: string | null) => worker.request("classify", { text, pair, threshold: oneText.threshold });
const explanation = new ExplanationView((text, pair) => worker.request("explain", { text, pair }), showError);
const oneText: OneText = new OneText(classify, explanation, showError);
const manyTexts = new ManyTexts(classify);

let bundle: BundleFacts | undefined;
let isLoading = false;

function showError(error: unknown): void {
  const message = error instanceof Error ? error.message : String(error);
  const isExpected = error instanceof WorkerError && error.isExpected;
  errorLine.textContent = isExpected ? message : `Unexpected error: ${message}. Reload the page.`;
  errorLine.hidden = false;
}

async function loadBundle(source: Source): Promise<void> {
  if (isLoading) return;
  isLoading = true;
  errorLine.hidden = true;
  progressBar.hidden = false;
  progressBar.removeAttribute("value");
  statusLine.textContent = "Loading the bundle…";
  try {
    bundle = await worker.request("load", { source }, (received, total) => {
      progressBar.value = received / total;
      statusLine.textContent = `Loading the bundle: ${megabytes(received)} of ${megabytes(total)} MB`;
    });
    servedButton.hidden = source === SERVED_BUNDLE;
    oneText.setBundle(bundle);
    manyTexts.setBundle(bundle);
    showFacts(bundle, "running…");
    void runSelftest(bundle);
  } catch (error) {
    showError(error);
  } finally {
    isLoading = false;
    progressBar.hidden = true;
    statusLine.textContent = bundle === undefined ? "No bundle is loaded." : `${bundle.name} is loaded, with ${bundle.labels.length} labels.`;
  }
}

async function runSelftest(tested: BundleFacts): Promise<void> {
  const outcome = await worker.request("selftest", {}).then(
    ({ samples, passed, maxDifference }) =>
      `${passed ? "passed" : "FAILED"} on ${samples} samples, probabilities differ by at most ${maxDifference.toExponential(1)}`,
    (error: unknown) => (error instanceof Error ? error.message : String(error)),
  );
  if (bundle === tested) showFacts(tested, outcome);
}

function showFacts(facts: BundleFacts, selftestOutcome: string): void {
  const entries = {
    Name: facts.name,
    Labels: String(facts.labels.length),
    Precision: facts.precision,
    Size: `${megabytes(facts.sizeBytes)} MB`,
    "Maximum length": `${facts.maxLengthTokens} tokens`,
    Digest: facts.digest.slice(0, 12),
    "Self-test in this browser": selftestOutcome,
  };
  factsList.replaceChildren(
    ...Object.entries(entries).map(([name, value]) => {
      const fact = document.createElement("div");
      fact.append(create("dt", "", name), create("dd", "", value));
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
    const files = Array.from(input.files ?? []);
    input.value = ""; // so that choosing the same files again fires the event
    if (files.length > 0) void loadBundle(files);
  });
}
servedButton.addEventListener("click", () => void loadBundle(SERVED_BUNDLE));

const bundleCard = element("bundle", HTMLElement);
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  bundleCard.classList.add("drop-target");
});
document.addEventListener("dragleave", (event) => {
  if (event.relatedTarget === null) bundleCard.classList.remove("drop-target");
});
document.addEventListener("drop", (event) => {
  event.preventDefault();
  bundleCard.classList.remove("drop-target");
  if (event.dataTransfer === null) return;
  void droppedFiles(event.dataTransfer).then((files) => {
    const [file] = files;
    return files.length === 1 && holdsTexts(file!.name) ? manyTexts.setFile(file!) : loadBundle(files);
  }, showError);
});

void loadBundle(SERVED_BUNDLE);
