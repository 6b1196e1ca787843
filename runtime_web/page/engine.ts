import type { Questions, Reply, Request } from "./messages.js";

/** An error that the worker met; `isOurs` where its message is made for people. */
export class EngineError extends Error {
  constructor(message: string, readonly isOurs: boolean) {
    super(message);
  }
}

interface Waiting {
  readonly resolve: (found: never) => void;
  readonly reject: (error: EngineError) => void;
  readonly onProgress: (received: number, total: number) => void;
}

/** Asks the worker. */
export class Engine {
  private readonly worker = new Worker(new URL("./worker.ts", import.meta.url), { type: "module" });
  private readonly waiting = new Map<number, Waiting>();
  private asked = 0;
  private broken: EngineError | undefined;

  constructor() {
    this.worker.onmessage = ({ data }: MessageEvent<Reply>): void => this.hear(data);
    this.worker.onerror = (event): void => {
      this.broken = new EngineError(event.message || "the worker did not start", false);
      for (const { reject } of this.waiting.values()) reject(this.broken);
      this.waiting.clear();
    };
  }

  /** One question, one answer. Rejects with an EngineError. */
  ask<Name extends keyof Questions>(
    name: Name,
    given: Questions[Name]["given"],
    onProgress: (received: number, total: number) => void = () => {},
  ): Promise<Questions[Name]["found"]> {
    if (this.broken !== undefined) return Promise.reject(this.broken);
    const number = (this.asked += 1);
    return new Promise((resolve, reject) => {
      this.waiting.set(number, { resolve, reject, onProgress });
      this.worker.postMessage({ number, name, given } satisfies Request<Name>);
    });
  }

  private hear(reply: Reply): void {
    const waiting = this.waiting.get(reply.number);
    if (waiting === undefined) return;
    if ("received" in reply) return waiting.onProgress(reply.received, reply.total);
    this.waiting.delete(reply.number);
    if ("error" in reply) waiting.reject(new EngineError(reply.error, reply.isOurs));
    else waiting.resolve(reply.found as never);
  }
}
