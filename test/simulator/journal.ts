/** How a request ended. `failed`: the simulator answered with an error or broke it off. */
export type Outcome = 'open' | 'completed' | 'aborted' | 'failed'

export interface LogEntry {
  readonly seq: number
  readonly at: string
  endedAt: string | null
  readonly method: string
  /** Relative to /api/v1 if it is below; otherwise the whole path. */
  readonly path: string
  /** The key's name, never the key; null if the request had no known key. */
  readonly key: string | null
  readonly account: string | null
  model: string | null
  stream: boolean | null
  status: number | null
  outcome: Outcome
  /** The error: the name of a fault or a refusal, or the status. */
  error: string | null
  /** The fault that struck, also one like `slow-headers` that causes no error. */
  fault: string | null
  costUsd: number
  /** As received, without credentials. The development server adds some headers. */
  readonly headers: Readonly<Record<string, string>>
  body: { sha256: string; bytes: number; text: string | null }
}

interface Tally {
  requests: number
  completed: number
  aborted: number
  failed: number
  openNow: number
  maxOpen: number
  /** The prompt tokens of all complete answers; `cachedTokens` are those that were cached. */
  promptTokens: number
  cachedTokens: number
  /** Answers from the response cache. */
  cacheHits: number
}

export interface KeyStats extends Tally {
  /** Calls of `GET /key` and `/auth/key` with this key. They are not part of its requests. */
  lookups: number
  lastError: string | null
  statuses: Record<string, number>
  costUsd: number
}

export interface Stats extends Tally {
  /** Inference only, by the key's name. */
  perKey: Record<string, KeyStats>
  /** All requests, by path. */
  paths: Record<string, number>
}

const tally = (): Tally => ({
  requests: 0,
  completed: 0,
  aborted: 0,
  failed: 0,
  openNow: 0,
  maxOpen: 0,
  promptTokens: 0,
  cachedTokens: 0,
  cacheHits: 0,
})

const keyStats = (): KeyStats => ({
  ...tally(),
  lookups: 0,
  lastError: null,
  statuses: {},
  costUsd: 0,
})

/** How a request ended, as the journal records it. */
export interface Ended {
  readonly status: number | null
  readonly outcome: Exclude<Outcome, 'open'>
  readonly error: string | null
  readonly costUsd: number
}

type Arrived = Pick<LogEntry, 'at' | 'method' | 'path' | 'key' | 'account' | 'headers'>

/** The log and the counters of one world. A reset begins a new one. */
export class Journal {
  readonly #logLimit: number
  readonly #inference = new WeakSet<LogEntry>()
  readonly #open = new Map<LogEntry, AbortController>()
  #entries: LogEntry[] = []
  #seq = 0
  readonly stats: Stats

  constructor(keyNames: readonly string[], logLimit: number) {
    this.#logLimit = logLimit
    const perKey = Object.fromEntries(keyNames.map((name) => [name, keyStats()]))
    this.stats = { ...tally(), perKey, paths: {} }
  }

  /** Records an arrival. An inference request is then open until `end`. */
  begin(arrived: Arrived, kind: 'inference' | 'other'): LogEntry {
    this.#seq += 1
    const entry: LogEntry = {
      seq: this.#seq,
      ...arrived,
      endedAt: null,
      model: null,
      stream: null,
      status: null,
      outcome: 'open',
      error: null,
      fault: null,
      costUsd: 0,
      body: { sha256: '', bytes: 0, text: null },
    }
    this.#keep(entry)
    this.#open.set(entry, new AbortController())
    const { paths } = this.stats
    paths[entry.path] = (paths[entry.path] ?? 0) + 1
    if (kind === 'inference') {
      this.#inference.add(entry)
      for (const counted of this.#tallies(entry)) {
        counted.requests += 1
        counted.openNow += 1
        counted.maxOpen = Math.max(counted.maxOpen, counted.openNow)
      }
    } else if (entry.key !== null && /^(\/auth)?\/key$/.test(entry.path)) {
      this.#ofKey(entry.key).lookups += 1
    }
    return entry
  }

  /** Adds the tokens of an answered prompt to the counters. */
  countPrompt(entry: LogEntry, usage: { promptTokens: number; cachedTokens: number }): void {
    for (const counted of this.#tallies(entry)) {
      counted.promptTokens += usage.promptTokens
      counted.cachedTokens += usage.cachedTokens
    }
  }

  /** Counts an answer from the response cache. */
  countHit(entry: LogEntry): void {
    for (const counted of this.#tallies(entry)) counted.cacheHits += 1
  }

  /** Records how a request ended. Only the first end counts. */
  end(entry: LogEntry, ended: Ended): void {
    if (!this.#open.delete(entry)) return
    entry.endedAt = new Date().toISOString()
    entry.status = ended.status
    entry.outcome = ended.outcome
    entry.error = ended.error
    entry.costUsd = ended.costUsd
    if (!this.#inference.has(entry)) return
    for (const counted of this.#tallies(entry)) {
      counted.openNow -= 1
      counted[ended.outcome] += 1
    }
    if (entry.key === null) return
    const key = this.#ofKey(entry.key)
    key.costUsd = Math.round((key.costUsd + ended.costUsd) * 1e9) / 1e9
    if (ended.error !== null) key.lastError = ended.error
    if (ended.status === null) return
    key.statuses[ended.status] = (key.statuses[ended.status] ?? 0) + 1
  }

  /** The kept entries after this sequence number, oldest first. */
  since(seq: number): LogEntry[] {
    return this.#entries.filter((entry) => entry.seq > seq)
  }

  /** The signal that breaks the request off. */
  interruptOf(entry: LogEntry): AbortSignal {
    return this.#open.get(entry)?.signal ?? AbortSignal.abort()
  }

  /** Breaks off all open requests: a hung request must not outlive its world. */
  interruptAll(): void {
    for (const interrupt of this.#open.values()) interrupt.abort()
  }

  #keep(entry: LogEntry): void {
    this.#entries.push(entry)
    // In slices, since dropping one at a time would copy the list at every request.
    if (this.#entries.length > 2 * this.#logLimit) {
      this.#entries = this.#entries.slice(-this.#logLimit)
    }
  }

  #tallies(entry: LogEntry): Tally[] {
    return entry.key === null ? [this.stats] : [this.stats, this.#ofKey(entry.key)]
  }

  #ofKey(name: string): KeyStats {
    const known = this.stats.perKey[name] ?? keyStats()
    this.stats.perKey[name] = known
    return known
  }
}
