import { create, element, percent } from "./elements.js";
import type { ExplanationView } from "./explanation_view.js";
import { LabelBars } from "./label_bars.js";
import type { Answer, BundleFacts } from "./messages.js";

/** Pause in typing after which a screen reader announces the label. */
const ANNOUNCEMENT_DELAY_MS = 700;

type Classify = (text: string, pair: string | null) => Promise<Answer>;

/** The text field and its label, updated with every key. */
export class OneText {
  private readonly text = element("text", HTMLTextAreaElement);
  private readonly pair = element("text-pair", HTMLTextAreaElement);
  private readonly slider = element("threshold", HTMLInputElement);
  private readonly truncated = element("truncated", HTMLElement);
  private readonly announcement = element("announcement", HTMLElement);
  private readonly bars = new LabelBars();
  private bundle: BundleFacts | undefined;
  private isRunning = false;
  private isOutdated = false;
  private announcementTimer: number | undefined;

  /** The threshold that the visitor set; null: the bundle's threshold. */
  threshold: number | null = null;

  constructor(
    private readonly classify: Classify,
    private readonly explanation: ExplanationView,
    private readonly onError: (error: unknown) => void,
  ) {
    for (const field of [this.text, this.pair]) field.addEventListener("input", () => void this.refresh());
    this.slider.addEventListener("input", () => {
      this.threshold = this.slider.valueAsNumber / 100;
      this.showThreshold();
      void this.refresh();
    });
  }

  /** Switches to another bundle. */
  setBundle(bundle: BundleFacts): void {
    this.bundle = bundle;
    this.threshold = null;
    for (const field of [this.text, this.pair, this.slider]) field.disabled = false;
    element("pair", HTMLElement).hidden = !bundle.textPair;
    element("similarity-fact", HTMLElement).hidden = true;
    this.bars.setLabels(bundle.labels);
    this.showExamples(bundle.examples);
    this.slider.valueAsNumber = Math.round(100 * (bundle.threshold ?? 0));
    this.showThreshold();
    void this.refresh();
    if (document.activeElement === document.body) this.text.focus();
  }

  // While the graph runs, further input only marks the answer as outdated, so that older texts are skipped.
  private async refresh(): Promise<void> {
    this.isOutdated = true;
    if (this.isRunning) return;
    this.isRunning = true;
    try {
      while (this.isOutdated) {
        this.isOutdated = false;
        const bundle = this.bundle!;
        const [text, pair] = [this.text.value, bundle.textPair ? this.pair.value : null];
        const isEmpty = text.trim() === "" && (pair ?? "").trim() === "";
        const answer = isEmpty
          ? null
          : await this.classify(text, pair).catch((error: unknown) => {
              if (bundle === this.bundle) throw error;
              return null;
            });
        if (bundle !== this.bundle) continue;
        this.show(bundle, answer);
        this.explanation.set(answer === null ? null : { text, pair, label: bundle.labels[answer.probs.indexOf(answer.prob)]! });
      }
    } catch (error) {
      this.onError(error);
    } finally {
      this.isRunning = false;
    }
  }

  private show(bundle: BundleFacts, answer: Answer | null): void {
    const set = (id: string, content: string): void => void (element(id, HTMLElement).textContent = content);
    const label = answer === null ? "–" : (answer.label ?? "No label");
    const reason = answer === null ? "" : this.reason(bundle, answer);
    this.bars.show(answer?.probs ?? null);
    set("tokens", answer === null ? "–" : `${answer.tokens} of ${bundle.maxLengthTokens}`);
    set("time", answer === null ? "–" : `${answer.milliseconds.toFixed(1)} ms`);
    set("verdict-label", label);
    set("verdict-reason", reason);
    this.truncated.hidden = !answer?.truncated;
    if (answer?.truncated) {
      set("truncated", `The text is too long: only the first ${answer.tokens} of ${answer.tokensBeforeTruncation} tokens count.`);
    }
    if (answer !== null && answer.similarity !== null) {
      const threshold = bundle.minSimilarity === null ? "" : ` (threshold ${bundle.minSimilarity.toFixed(2)})`;
      element("similarity-fact", HTMLElement).hidden = false;
      set("similarity", answer.similarity.toFixed(2) + threshold);
    }
    window.clearTimeout(this.announcementTimer);
    this.announcementTimer = window.setTimeout(() => {
      this.announcement.textContent = answer === null ? "" : `${label}: ${reason}`;
    }, ANNOUNCEMENT_DELAY_MS);
  }

  private reason(bundle: BundleFacts, answer: Answer): string {
    if (answer.label !== null) return percent(answer.prob);
    const mostProbable = `${bundle.labels[answer.probs.indexOf(answer.prob)]!} with ${percent(answer.prob)}`;
    const threshold = this.threshold ?? bundle.threshold;
    if (threshold !== null && answer.prob < threshold) return `Most probable is ${mostProbable}, below the threshold of ${percent(threshold)}.`;
    return `The text is not similar to any label. Most probable is ${mostProbable}.`;
  }

  private showExamples(examples: readonly string[]): void {
    const buttons = examples.map((example) => {
      const button = create("button", "example", example);
      button.addEventListener("click", () => {
        this.text.value = example;
        void this.refresh();
      });
      return button;
    });
    element("example-texts", HTMLElement).replaceChildren(...buttons);
    element("examples", HTMLElement).hidden = examples.length === 0;
  }

  private showThreshold(): void {
    const threshold = this.threshold ?? this.bundle?.threshold ?? 0;
    this.bars.setThreshold(threshold === 0 ? null : threshold);
    element("threshold-value", HTMLOutputElement).textContent = threshold === 0 ? "off" : percent(threshold);
  }
}
