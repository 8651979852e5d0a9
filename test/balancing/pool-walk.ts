import { isActive } from '../../src/balancing/bench.ts'
import { asOf } from '../../src/balancing/circuit-breaker.ts'
import { keyId, modelId } from '../../src/balancing/ids.ts'
import type { Tally } from '../../src/balancing/ledger.ts'
import { type Grant, observe, type Refusal, takeLookups, tick } from '../../src/balancing/pool.ts'
import type { KeyState } from '../../src/balancing/pool-state.ts'
import { type AnyPool, at, type Hint, MODELS, settlementOf } from './any-history.ts'
import { type Ask, drivePool, type KeySpec, type PoolDriver, START_MS } from './pool-driver.ts'
import { seededRandom } from './seeded-random.ts'

/** For how long the pool must know that a lease has ended. */
const REMEMBERED_MS = 120_000

interface Issued {
  readonly grant: Grant
  readonly wish: Ask
  readonly expiresAtMs: number
  /** When it was settled, or null; a lease that expired can still be settled, once. */
  settledAtMs: number | null
}

/** One history of one pool, beside a much simpler account of what the pool may be doing. */
export class PoolWalk {
  static on(pool: AnyPool, seed: number): PoolWalk {
    return new PoolWalk(pool, drivePool(pool.keys, pool.policy, seededRandom(seed)))
  }

  readonly pool: PoolDriver
  readonly transcript: unknown[] = []
  /** The reasons for which a key was refused in this history, and `panic` if a lease was granted in it. */
  readonly reasonsMet = new Set<string>()
  readonly #specs: ReadonlyMap<string, KeySpec>
  readonly #issued: Issued[] = []
  readonly #faults: string[] = []
  readonly #initialRetryTokens: number
  #requests = 0
  #retries = 0
  #settlements = 0

  constructor(config: AnyPool, pool: PoolDriver) {
    this.pool = pool
    this.#specs = new Map(config.keys.map((key) => [key.id, key]))
    this.#initialRetryTokens = pool.state.retryBudget.tokens
  }

  /** Everything that was seen and must not be. */
  faults(): readonly string[] {
    return this.#faults
  }

  step(hint: Hint): void {
    switch (hint.what) {
      case 'ask':
        this.#ask(hint)
        break
      case 'ask-again':
        this.#askAgain(hint)
        break
      case 'settle':
        this.#settle(hint)
        break
      case 'settle-twice':
        this.#settleTwice(hint)
        break
      case 'wait':
        this.pool.wait(hint.detail % 10 === 0 ? 400_000 : hint.detail % 20_000)
        break
      case 'look-up':
        this.#lookUp(hint)
        break
    }
  }

  /** Lets every lease run out, unsettled. */
  stopTraffic(): void {
    this.pool.wait(10 ** 6)
    tick(this.pool.state, this.pool.now())
  }

  check(): void {
    tick(this.pool.state, this.pool.now())
    for (const key of this.pool.state.keys.values()) this.#checkLoad(key)
    this.#checkBudget()
    this.#checkBooks()
  }

  #fault(holds: boolean, what: string): void {
    if (!holds) this.#faults.push(`step ${this.transcript.length}: ${what}`)
  }

  #ask({ pick, detail }: Hint): void {
    const tried = detail % 4 === 0 ? [`k${pick % 6}`] : []
    const wish: Ask = {
      lease: `lease-${this.#issued.length}-${this.transcript.length}`,
      client: `client-${detail % 3}`,
      model: at(MODELS, pick) ?? MODELS[0],
      attempt: at(['first', 'first', 'move', 'retry'], detail) ?? 'first',
      tried,
      notAccounts: detail % 7 === 0 ? ['acme'] : [],
      leaseMs: detail % 5 === 0 ? 5_000 : 300_000,
    }
    tick(this.pool.state, this.pool.now())
    const before = structuredClone(this.pool.state.keys)
    const answer = this.pool.ask(wish)
    this.transcript.push(answer)
    if (answer.kind === 'refusal') {
      this.#checkRefusal(answer, wish)
      return
    }
    const panic = this.pool.state.leases.live.get(answer.leaseId)?.panic ?? false
    if (panic) this.reasonsMet.add('panic')
    const key = before.get(answer.keyId)
    if (key !== undefined) this.#checkGrant(key, [...before.values()], wish, panic)
    this.#remember(answer, wish)
  }

  #remember(grant: Grant, wish: Ask): void {
    if (wish.attempt === 'first') this.#requests += 1
    if (wish.attempt === 'retry') this.#retries += 1
    const expiresAtMs = this.pool.now() + (wish.leaseMs ?? 0)
    this.#issued.push({ grant, wish, expiresAtMs, settledAtMs: null })
  }

  #askAgain({ pick }: Hint): void {
    const issued = at(this.#issued, pick)
    if (issued === undefined) return
    const answer = this.pool.ask(issued.wish)
    this.transcript.push(answer)
    const granted = answer.kind === 'grant'
    if (this.#isLive(issued)) {
      const same = granted && answer.keyId === issued.grant.keyId
      this.#fault(same, 'one lease id holds two leases')
      return
    }
    const endedAtMs = issued.settledAtMs ?? issued.expiresAtMs
    const remembered = this.pool.now() - endedAtMs <= REMEMBERED_MS
    this.#fault(!(granted && remembered), 'an ended lease was granted again')
    if (!granted) return
    // Its end is forgotten, so to the pool it is a new one.
    this.#issued.splice(this.#issued.indexOf(issued), 1)
    this.#remember(answer, issued.wish)
  }

  #settle({ pick, detail }: Hint): void {
    const issued = at(
      this.#issued.filter(({ settledAtMs }) => settledAtMs === null),
      pick,
    )
    if (issued === undefined) return
    const key = this.pool.key(issued.grant.keyId)
    const wasProbe = key.breaker.kind === 'half_open'
    const before = structuredClone(key)
    const told = settlementOf(detail, this.pool.now())
    issued.settledAtMs = this.pool.now()
    this.#settlements += 1
    this.pool.give(issued.grant, told)
    this.transcript.push(told)
    if (told.fault === 'caller' && !wasProbe) {
      // Reading the clock may have turned an open breaker half-open: compare as of now.
      const nowMs = this.pool.now()
      const same =
        JSON.stringify([
          asOf(before.breaker, nowMs),
          before.bench,
          before.strikes,
          before.lookup,
        ]) === JSON.stringify([asOf(key.breaker, nowMs), key.bench, key.strikes, key.lookup])
      this.#fault(same, 'a caller’s mistake marked a key')
    }
  }

  #settleTwice({ pick }: Hint): void {
    const nowMs = this.pool.now()
    const settled = this.#issued.filter(
      ({ settledAtMs }) => settledAtMs !== null && nowMs - settledAtMs <= REMEMBERED_MS,
    )
    const issued = at(settled, pick)
    if (issued === undefined) return
    tick(this.pool.state, nowMs)
    const before = structuredClone(this.pool.state)
    this.pool.fail(issued.grant)
    const same = JSON.stringify(plain(before)) === JSON.stringify(plain(this.pool.state))
    this.#fault(same, 'a second settlement changed something')
  }

  #lookUp({ pick, detail }: Hint): void {
    const { state } = this.pool
    const nowMs = this.pool.now()
    const handed = takeLookups(state, nowMs)
    const again = takeLookups(state, nowMs)
    this.#fault(!again.some((id) => handed.includes(id)), 'one lookup was handed out twice')
    const id = at(handed, pick)
    if (id === undefined) return
    const key = keyId(id)
    if (detail % 3 === 0) observe(state, { keyId: key, kind: 'rejected' }, nowMs)
    else if (detail % 3 === 1) observe(state, { keyId: key, kind: 'unknown' }, nowMs)
    else observe(state, { keyId: key, kind: 'valid', remainingUsd: (detail % 5) - 1 }, nowMs)
  }

  #isLive(issued: Issued): boolean {
    return issued.settledAtMs === null && this.pool.now() < issued.expiresAtMs
  }

  #checkGrant(key: KeyState, keys: readonly KeyState[], wish: Ask, panic: boolean): void {
    const nowMs = this.pool.now()
    const spec = this.#specs.get(key.id)
    this.#fault(spec?.disabled !== true, 'a disabled key was granted')
    this.#fault(!wish.tried?.includes(key.id), 'a key that was tried was granted again')
    this.#fault(!wish.notAccounts?.includes(key.account.id), 'an account at fault was granted')
    this.#fault(!isBenched(key, wish.model ?? '', nowMs), `a benched key was granted: ${key.id}`)
    const standing = keys.filter(
      (other) => !(other.config.disabled || isBenched(other, wish.model ?? '', nowMs)),
    )
    const closed = standing.filter(({ breaker }) => breaker.kind === 'closed')
    const { panicRatio } = this.pool.state.policy
    this.#fault(panic === closed.length < panicRatio * standing.length, 'panic is not what it is')
    const breaker = asOf(key.breaker, nowMs)
    this.#fault(panic || breaker.kind !== 'open', 'an open breaker was passed without panic')
    const free = breaker.kind !== 'half_open' || breaker.probe === null
    this.#fault(panic || free, 'a second probe was let through')
  }

  #checkRefusal(refusal: Refusal, wish: Ask): void {
    const nowMs = this.pool.now()
    const { retryAtMs, reasons } = refusal
    for (const reason of Object.keys(reasons)) this.reasonsMet.add(reason)
    this.#fault(retryAtMs === null || retryAtMs > nowMs, 'a refusal named a moment that is past')
    if (refusal.cause !== 'no_key') return
    const counted = Object.values(reasons).reduce((sum, count) => sum + count, 0)
    this.#fault(counted === this.#specs.size, 'a refusal did not account for every key')
    const keys = [...this.pool.state.keys.values()]
    const loaded = keys.some(
      ({ inFlight, config, breaker }) =>
        (config.maxConcurrent !== null && inFlight >= config.maxConcurrent) ||
        (breaker.kind === 'half_open' && breaker.probe !== null),
    )
    // Leases end when their answers do, so only without load is the moment more than a guess.
    const personal = (wish.tried?.length ?? 0) + (wish.notAccounts?.length ?? 0) > 0
    if (loaded || personal || retryAtMs === null || wish.attempt === 'retry') return
    this.#fault(!this.#wouldGrantAt(retryAtMs - 1, wish), 'a key was free before the moment named')
    this.#fault(this.#wouldGrantAt(retryAtMs, wish), 'no key was free at the moment named')
  }

  #wouldGrantAt(atMs: number, wish: Ask): boolean {
    const twin = drivePool([])
    Object.assign(twin.state, structuredClone(this.pool.state))
    twin.at(atMs)
    return twin.ask({ ...wish, lease: 'imagined' }).kind === 'grant'
  }

  #checkLoad(key: KeyState): void {
    const out = this.#issued.filter(
      (issued) => issued.grant.keyId === key.id && this.#isLive(issued),
    )
    this.#fault(
      key.inFlight === out.length,
      `${key.id}: ${key.inFlight} of ${out.length} in flight`,
    )
    const limit = this.#specs.get(key.id)?.maxConcurrent ?? Number.POSITIVE_INFINITY
    this.#fault(out.length <= limit, `${key.id} is over its limit`)
    if (key.breaker.kind !== 'half_open' || key.breaker.probe === null) return
    const { probe } = key.breaker
    this.#fault(
      out.some(({ grant }) => grant.leaseId === probe),
      'a probe is out that nobody holds',
    )
  }

  #checkBudget(): void {
    const { ratio, minPerSecond } = this.pool.state.policy.retryBudget
    const dripped = ((this.pool.now() - START_MS) / 1000) * minPerSecond
    const paid = this.#initialRetryTokens + ratio * this.#requests + dripped + 1e-6
    this.#fault(this.#retries <= paid, 'retries passed their budget')
    this.#fault(this.pool.state.retryBudget.tokens >= 0, 'the retry budget is overdrawn')
  }

  #checkBooks(): void {
    const { byKey, byModel, byClient } = this.pool.state.ledger
    const [keys, models, clients] = [byKey, byModel, byClient].map((tallies) => totals(tallies))
    this.#fault(models === clients, 'the books by model and by client disagree')
    if (this.#settlements === this.#settledInTime()) {
      this.#fault(keys === models, 'the books by key and by model disagree')
    }
  }

  /** Settlements that came before the pool may have forgotten their lease. */
  #settledInTime(): number {
    return [...this.pool.state.ledger.byClient.values()].reduce((n, t) => n + t.total.attempts, 0)
  }
}

function totals(tallies: ReadonlyMap<string, Tally>): string {
  let [attempts, tokens, costUsd] = [0, 0, 0]
  for (const { total } of tallies.values()) {
    attempts += total.attempts
    tokens += total.promptTokens + total.completionTokens
    costUsd += total.costUsd
  }
  return JSON.stringify({ attempts, tokens, costUsd })
}

function isBenched(key: KeyState, model: string, nowMs: number): boolean {
  const { account } = key
  const free = model.endsWith(':free') ? account.freeBench : null
  const benches = [key.bench, account.bench, free, account.modelBenches.get(modelId(model)) ?? null]
  return benches.some((bench) => isActive(bench, nowMs))
}

/** State as plain JSON can show it, so that two states can be compared by value. */
function plain(value: unknown): unknown {
  if (value instanceof Map) return [...value].map(([name, entry]) => [name, plain(entry)])
  if (value instanceof Set) return [...value]
  if (Array.isArray(value)) return value.map(plain)
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(Object.entries(value).map(([name, entry]) => [name, plain(entry)]))
}
