import type { Requests, WorkerRequest, WorkerResponse } from "./messages.js";

/** An error in the worker. `isExpected`: the message is written for the visitor; otherwise it is a bug. */
export class WorkerError extends Error {
  constructor(message: string, readonly isExpected: boolean) {
    super(message);
  }
}

interface PendingRequest {
  readonly resolve: (result: never) => void;
  readonly reject: (error: WorkerError) => void;
  readonly onProgress: (received: number, total: number) => void;
}

/** Sends requests to the worker. */
export class WorkerClient {
  private readonly worker = new Worker(new URL("./worker.ts", import.meta.url), { type: "module" });
  private readonly pending = new Map<number, PendingRequest>();
  private lastId = 0;
  private failure: WorkerError | undefined;

  constructor() {
    this.worker.onmessage = ({ data }: MessageEvent<WorkerResponse>): void => this.receive(data);
    this.worker.onerror = (event): void => {
      this.failure = new WorkerError(event.message || "the worker did not start", false);
      for (const { reject } of this.pending.values()) reject(this.failure);
      this.pending.clear();
    };
  }

  /** Sends a request and resolves with its result. Rejects with a WorkerError. */
  request<Name extends keyof Requests>(
    name: Name,
    params: Requests[Name]["params"],
    onProgress: (received: number, total: number) => void = () => {},
  ): Promise<Requests[Name]["result"]> {
    if (this.failure !== undefined) return Promise.reject(this.failure);
    const id = (this.lastId += 1);
    return new Promise((resolve, reject) => {
      this.pending.set(id, { resolve, reject, onProgress });
      this.worker.postMessage({ id, name, params } satisfies WorkerRequest<Name>);
    });
  }

  private receive(response: WorkerResponse): void {
    const request = this.pending.get(response.id);
    if (request === undefined) return;
    if ("received" in response) return request.onProgress(response.received, response.total);
    this.pending.delete(response.id);
    if ("error" in response) request.reject(new WorkerError(response.error, response.isExpected));
    else request.resolve(response.result as never);
  }
}
