import { Bars } from "./bars.js";
import { element, percent } from "./elements.js";
import type { Answer, BundleFacts } from "./messages.js";
import type { Reasons } from "./reasons.js";

type Classify = (text: string, pair: string | null) => Promise<Answer>;

/** The text that is being typed, and its label. */
export class OneText {
  private readonly text = element("text", HTMLTextAreaElement);
  private readonly pair = element("text-pair", HTMLTextAreaElement);
  private readonly slider = element("threshold", HTMLInputElement);
  private readonly truncated = element("truncated", HTMLElement);
  private readonly spoken = element("spoken", HTMLElement);
  private readonly bars = new Bars(element("bars", HTMLElement), element("others", HTMLElement));
  private bundle: BundleFacts | undefined;
  private busy = false;
  private stale = false;
  private silence: number | undefined;

  /** The probability below which there is no label; null is the bundle's own rule. */
  threshold: number | null = null;

  constructor(
    private readonly classify: Classify,
    private readonly reasons: Reasons,
    private readonly onError: (error: unknown) => void,
  ) {
    for (const field of [this.text, this.pair]) field.addEventListener("input", () => void this.refresh());
    this.slider.addEventListener("input", () => {
      this.threshold = this.slider.valueAsNumber / 100;
      this.showThreshold();
      void this.refresh();
    });
  }

  /** Takes another bundle, or none. */
  setBundle(bundle: BundleFacts | undefined): void {
    this.bundle = bundle;
    this.threshold = null;
    for (const field of [this.text, this.pair, this.slider]) field.disabled = bundle === undefined;
    element("pair", HTMLElement).hidden = !bundle?.textPair;
    element("nearness-fact", HTMLElement).hidden = true;
    this.bars.setLabels(bundle?.labels ?? []);
    this.slider.valueAsNumber = Math.round(100 * (bundle?.threshold ?? 0));
    this.showThreshold();
    void this.refresh();
    if (bundle !== undefined && document.activeElement === document.body) this.text.focus();
  }

  // The newest text wins: what was typed while the graph ran is classified next, and only that.
  private async refresh(): Promise<void> {
    this.stale = true;
    if (this.busy) return;
    this.busy = true;
    try {
      while (this.stale) {
        this.stale = false;
        const bundle = this.bundle;
        const [text, pair] = [this.text.value, bundle?.textPair ? this.pair.value : null];
        const empty = bundle === undefined || (text.trim() === "" && (pair ?? "").trim() === "");
        const answer = empty
          ? null
          : await this.classify(text, pair).catch((error: unknown) => {
              if (bundle === this.bundle) throw error;
              return null;
            });
        if (bundle !== this.bundle) continue;
        this.show(answer);
        this.reasons.set(answer === null ? null : [text, pair, bundle!.labels[answer.probs.indexOf(answer.prob)]!]);
      }
    } catch (error) {
      this.onError(error);
    } finally {
      this.busy = false;
    }
  }

  private show(answer: Answer | null): void {
    const bundle = this.bundle;
    this.bars.show(answer?.probs ?? null);
    this.truncated.hidden = !answer?.truncated;
    const set = (id: string, content: string): void => void (element(id, HTMLElement).textContent = content);
    set("tokens", answer === null ? "–" : `${answer.tokens} of ${bundle!.maxLengthTokens}`);
    set("time", answer === null ? "–" : `${answer.milliseconds.toFixed(1)} ms`);
    set("verdict-label", answer === null ? "–" : (answer.label ?? "no label"));
    set("verdict-why", answer === null ? "" : this.reason(answer));
    if (answer?.truncated) {
      set("truncated", `Too long: the first ${answer.tokens} of ${answer.wholeTokens} tokens are read, the rest is not.`);
    }
    if (answer !== null && answer.scope !== null) {
      const limit = bundle!.scopeThreshold === null ? "" : `, line at ${bundle!.scopeThreshold.toFixed(2)}`;
      element("nearness-fact", HTMLElement).hidden = false;
      set("nearness", answer.scope.toFixed(2) + limit);
    }
    window.clearTimeout(this.silence); // read aloud when the typing pauses
    this.silence = window.setTimeout(() => {
      this.spoken.textContent = answer === null ? "" : `${answer.label ?? "no label"}: ${this.reason(answer)}`;
    }, 700);
  }

  private reason(answer: Answer): string {
    if (answer.label !== null) return percent(answer.prob);
    const bundle = this.bundle!;
    const best = bundle.labels[answer.probs.indexOf(answer.prob)]!;
    const limit = this.threshold ?? bundle.threshold;
    if (limit !== null && answer.prob < limit) return `the best one, ${best}, has ${percent(answer.prob)}, below the line at ${percent(limit)}`;
    return `far from every label; the best one would be ${best}, ${percent(answer.prob)}`;
  }

  private showThreshold(): void {
    const limit = this.threshold ?? this.bundle?.threshold ?? null;
    this.bars.setLimit(limit === 0 ? null : limit);
    element("threshold-value", HTMLOutputElement).textContent = limit === null || limit === 0 ? "never" : percent(limit);
  }
}
