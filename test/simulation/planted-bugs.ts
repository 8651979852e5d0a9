/** A bug that is put into the shipped code, to see that the simulation finds it. */
export interface PlantedBug {
  readonly file: string
  /** Stands in the file exactly once. */
  readonly good: string
  readonly bad: string
  /** The invariant that has to be found broken. */
  readonly breaks: number
  /** The first seed that is tried: the one that found it last, since a seed costs a fifth of a second. */
  readonly fromSeed: number
}

/** By name. The text that a bug replaces has to be kept up with the code: a test says when it is not. */
export const PLANTED_BUGS: Readonly<Record<string, PlantedBug>> = {
  'a settlement that counts twice': {
    file: 'src/balancing/limits/leases.ts',
    good: "if (isSettled(leases, id)) return { kind: 'duplicate' }",
    bad: "if (isSettled(leases, id)) return { kind: 'forgotten' }",
    breaks: 8,
    fromSeed: 9,
  },
  'a lease that leaks after a failed attempt': {
    file: 'src/gateway/attempting.ts',
    good: 'this.#context.leases.owe(lease.end(verdict, usage))',
    bad: 'lease.end(verdict, usage)',
    breaks: 2,
    fromSeed: 20,
  },
  'a key that is paused and granted': {
    file: 'src/balancing/serving/candidates.ts',
    good: 'return config.disabled || halt !== null',
    bad: 'return config.disabled || halt === undefined',
    breaks: 3,
    fromSeed: 23,
  },
  'a pause that a restart forgets': {
    file: 'src/balancing/records/restore.ts',
    good: 'putHalt(state.halted, key, record.halt)',
    bad: 'putHalt(state.halted, key, null)',
    breaks: 3,
    fromSeed: 7,
  },
  'a second probe of a half-open breaker': {
    file: 'src/balancing/eligibility.ts',
    good: "return breaker.probe === null ? NONE : [busy('half_open_busy', key, nowMs)]",
    bad: 'return NONE',
    breaks: 3,
    fromSeed: 3,
  },
  'a shorter bench that wins over a longer one': {
    file: 'src/balancing/health/bench.ts',
    good: 'endsBefore(old, next) ? [old, next] : [next, old]',
    bad: 'endsBefore(old, next) ? [next, old] : [old, next]',
    breaks: 3,
    fromSeed: 4,
  },
  'a caller’s mistake that counts against the key': {
    file: 'src/balancing/feedback.ts',
    good: "settlement.outcome === 'failure' &&",
    bad: "settlement.outcome !== 'success' &&",
    breaks: 4,
    fromSeed: 1,
  },
  'a retry after the commit': {
    file: 'src/gateway/journey.ts',
    good: `this.#request.body.letGo()
      const answered = await this.#answer(end)`,
    bad: `const answered = await this.#answer(end)
      if (end.kind === 'answered' && answered.outcome === 'failed') await this.#attempting.run()`,
    breaks: 7,
    fromSeed: 3,
  },
  'a key that idles behind a waiter': {
    file: 'src/balancing/serving/lease-end.ts',
    good: `if (isWide) lookAgainAtSisters(step.state, key)
  noteChange(step.state, key)`,
    bad: 'if (isWide) lookAgainAtSisters(step.state, key)',
    breaks: 11,
    fromSeed: 1,
  },
  'a model that is down and opens breakers': {
    file: 'src/balancing/feedback.ts',
    good: '!isModelsFault(step, attempt, settlement)',
    bad: 'attempt !== null',
    breaks: 12,
    fromSeed: 6,
  },
  'a map that grows': {
    file: 'src/balancing/limits/rotating-map.ts',
    good: 'map.old = map.young',
    bad: 'map.old = new Map([...map.old, ...map.young])',
    breaks: 13,
    fromSeed: 98,
  },
  'a stock that hands out a lease which has expired': {
    file: 'src/gateway/leases/lease-stock.ts',
    good: 'const USABLE_MS = 1_500',
    bad: 'const USABLE_MS = 15_000',
    breaks: 3,
    fromSeed: 38,
  },
  'an outbox that is lost with an exchange': {
    file: 'src/gateway/leases/outbox.ts',
    good: 'outbox.settlements = again(parcel.settlements, outbox.settlements)',
    bad: '',
    breaks: 2,
    fromSeed: 17,
  },
  'a budget that forgets in a crash what was written ahead': {
    file: 'src/balancing/clients/budget.ts',
    good: 'budget.lostNanos = Math.max(0, rowNanos - budget.reservedNanos - budget.spentNanos)',
    bad: 'budget.lostNanos = 0',
    breaks: 15,
    fromSeed: 4,
  },
  'a long-context tier that is priced too low': {
    file: 'src/openrouter/prices/dearest-price.ts',
    good: 'return rates.overrides.map(({ prices }) => prices[name]).reduce(dearerOf, base)',
    bad: 'return base',
    breaks: 15,
    fromSeed: 4,
  },
  'a prompt that is written to a cache, and priced as one that is not': {
    file: 'src/openrouter/prices/upper-bound.ts',
    good: "if (fields.writesCache) names.push('input_cache_write', 'input_cache_write_1h')",
    bad: '',
    breaks: 15,
    fromSeed: 9,
  },
  'a reservation that a settlement does not give back': {
    file: 'src/balancing/clients/charge-settling.ts',
    good: 'if (lostAtMs === null) release(budget, nanos)',
    bad: 'if (lostAtMs === null) release(budget, 0)',
    breaks: 14,
    fromSeed: 4,
  },
  'a settlement of a forgotten lease that costs its client nothing': {
    file: 'src/balancing/serving/client-charges.ts',
    good: 'if (forgotten === null) return []',
    bad: "if (forgotten === null || closing.kind === 'forgotten') return []",
    breaks: 15,
    fromSeed: 17,
  },
  'a limit of a client that admits one too many': {
    file: 'src/balancing/clients/quota.ts',
    good: 'inFlight + 1 > share * maxConcurrent',
    bad: 'inFlight > share * maxConcurrent',
    breaks: 14,
    fromSeed: 7,
  },
  'a list of clients that is used for too long': {
    file: 'src/http/client-directory.ts',
    good: 'if (ageMs < FRESH_MS) {',
    bad: 'if (ageMs < Number.POSITIVE_INFINITY) {',
    breaks: 14,
    fromSeed: 22,
  },
  'a batch that has one lease too many': {
    file: 'src/balancing/batches/batch-share.ts',
    good: 'if (batch.inFlight >= leasesOfShare(config.maxConcurrent, share)) return false',
    bad: 'if (batch.inFlight > leasesOfShare(config.maxConcurrent, share)) return false',
    breaks: 16,
    fromSeed: 15,
  },
  'a batch that does not yield': {
    file: 'src/balancing/pool.ts',
    good: 'yieldWanted(step, request, chosen.models)',
    bad: '',
    breaks: 16,
    fromSeed: 21,
  },
  'an alert that begins again after a restart': {
    file: 'src/balancing/records/restore.ts',
    good: 'for (const alert of records.alerts) state.alerts.active.set(alertName(alert), alert)',
    bad: '',
    breaks: 17,
    fromSeed: 2,
  },
  'a message to operators that is gone once its delivery has failed': {
    file: 'src/balancing/alerts/alert-outbox.ts',
    good: 'replace(outbox, { ...delivery, tries, dueAtMs, takenUntilMs: nowMs })',
    bad: 'remove(outbox, { ...delivery, tries, dueAtMs, takenUntilMs: nowMs })',
    breaks: 17,
    fromSeed: 9,
  },
}
