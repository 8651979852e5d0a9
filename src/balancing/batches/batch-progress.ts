/** How far a batch is, as its object tells it. The pool keeps it for operators, and decides nothing by it. */
export interface BatchProgress {
  readonly id: string
  readonly clientId: string
  /** In OpenAI's words. */
  readonly status: string
  /** How many lines it has, and what has become of them. What is in none of the other counts waits. */
  readonly total: number
  readonly completed: number
  readonly failed: number
  /** Of ranges that a consumer has now. Some of them wait for their turn in it. */
  readonly claimed: number
  readonly expiresAtMs: number
}

/** A batch that has not ended, and when its object spoke last, in epoch milliseconds. */
export interface RunningBatch extends BatchProgress {
  readonly toldAtMs: number
}

/** A batch that stands still speaks once an hour at least. */
const FORGET_MS = 2 * 60 * 60_000

/** More would be told to nobody: a page of an operator shows no more. */
const MAX_BATCHES = 100

/** Notes how far a batch is. One that has ended is forgotten: operators are told of it otherwise. */
export function noteBatch(
  running: Map<string, RunningBatch>,
  progress: BatchProgress,
  hasEnded: boolean,
  nowMs: number,
): void {
  // The batch that spoke last comes last.
  running.delete(progress.id)
  if (!hasEnded) running.set(progress.id, { ...progress, toldAtMs: nowMs })
  const [oldest] = running.keys()
  if (running.size > MAX_BATCHES && oldest !== undefined) running.delete(oldest)
}

/** The batches that run, in the order of their ids, so that a page shows them in their places. */
export function runningBatches(
  running: ReadonlyMap<string, RunningBatch>,
  nowMs: number,
): readonly RunningBatch[] {
  return [...running.values()]
    .filter(({ toldAtMs }) => nowMs - toldAtMs < FORGET_MS)
    .toSorted((a, b) => (a.id < b.id ? -1 : 1))
}
