import { createPool, type PoolConfig, type PoolState } from '../../src/balancing/pool-state.ts'
import { PoolHost } from '../../src/key-pool/host.ts'
import type { PoolAnswer, PoolClient } from '../../src/key-pool/pool-client.ts'
import type { ExchangeReply, ExchangeRequest } from '../../src/key-pool/protocol.ts'
import { createStore } from '../../src/key-pool/rows/record-store.ts'
import { createMortalTimer } from '../gateway/in-memory-pool.ts'
import type { VirtualTime } from '../gateway/virtual-time.ts'
import type { Draw } from './draw.ts'
import { createGatedRows, type GatedRows } from './gated-rows.ts'

/** One step of the object: what it was called with, and what it answered. */
export interface ObjectStep {
  readonly kind: 'exchange' | 'wake' | 'claim' | 'duties' | 'order'
  readonly life: number
  readonly state: PoolState
  readonly nowMs: number
  readonly request: ExchangeRequest | null
  reply: ExchangeReply | null
}

/** Sees every step of the object, before and after it. */
export interface ObjectWitness {
  /** Not called before a `claim`, which changes no lease. */
  before(step: ObjectStep): void
  after(step: ObjectStep): void
  /** A life has begun. `how` tells what ended the one before; null for the first. */
  born(state: PoolState, life: number, how: Ending | null): void
  /** An answer to this step is on its way: what the step wrote is on disk. */
  released(step: ObjectStep): void
  /** The pool has given up a message to operators. */
  undelivered(): void
}

export type Ending = 'crash' | 'eviction' | 'deployment'

/** How calls between isolates and the object go. Shares of calls, from 0 to 1. */
export interface LineState {
  slow: number
  lost: number
  repeated: number
}

/** What one call meets. */
interface Fate {
  readonly outMs: number
  readonly backMs: number
  readonly lost: 'request' | 'reply' | null
  /** When what the outbox sent comes a second time, after the first; null if it does not. */
  readonly againAfterMs: number | null
}

/** What the object made of a call, and the step that it was; null for one that is not watched. */
interface Carried<T> {
  readonly value: T
  readonly step: ObjectStep | null
}

interface Life {
  readonly number: number
  readonly state: PoolState
  readonly host: PoolHost
  /** Ends its timers. */
  end(): void
  openTimers(): number
}

/** How often an object is looked at that is to be evicted: it is, once no timer keeps it. */
const AT_REST_MS = 3_000

/** The Worker's client gives up after this long. */
const GIVE_UP_MS = 2_000

/** The object's lives one after another, over one disk, and the line to them. */
export class PoolObject {
  readonly line: LineState = { slow: 0, lost: 0, repeated: 0 }
  readonly counts = { exchanges: 0, lost: 0, slow: 0, repeated: 0 }
  readonly bugs: unknown[] = []
  readonly #disk: GatedRows
  readonly #time: VirtualTime
  readonly #draw: Draw
  readonly #witness: ObjectWitness
  /** Functions that break the calls which have arrived and are not answered yet. */
  readonly #breaks = new Set<() => void>()
  #config: PoolConfig
  #life: Life

  constructor(config: PoolConfig, time: VirtualTime, draw: Draw, witness: ObjectWitness) {
    this.#config = config
    this.#time = time
    this.#draw = draw
    this.#witness = witness
    this.#disk = createGatedRows(time, () =>
      draw.chance(0.02) ? draw.int(50, 900) : draw.int(1, 6),
    )
    this.#life = this.#comeUp(1, null)
  }

  get state(): PoolState {
    return this.#life.state
  }

  get life(): number {
    return this.#life.number
  }

  /** How often a crash has lost something that was written. */
  losses(): number {
    return this.#disk.losses()
  }

  /** How many rows its storage has written or deleted. */
  rowsWritten(): number {
    return this.#disk.written()
  }

  crash(when: 'now' | 'at_next_write'): void {
    if (when === 'now') this.#end('crash')
    else this.#disk.atNextWrite(() => this.#end('crash'))
  }

  evict(): void {
    if (this.#life.openTimers() === 0) this.#end('eviction')
    else this.#time.objectTimer(AT_REST_MS, () => this.evict())
  }

  deploy(config: PoolConfig): void {
    this.#config = config
    this.#end('deployment')
  }

  /** @param isConnected whether the isolate that calls can reach the object now */
  client(timer: VirtualTime['timer'], isConnected: () => boolean): PoolClient {
    const call = <T>(carryOut: () => Promise<Carried<T>>, fate = this.#fate()) =>
      this.#call(carryOut, fate, { timer, isConnected })
    const plain = <T>(ask: (host: PoolHost) => T) =>
      call(async () => ({ value: ask(this.#life.host), step: null }))
    return {
      exchange: (given) => {
        this.counts.exchanges += 1
        // RPC can carry only values that can be cloned.
        const request = structuredClone(given)
        const fate = this.#fate()
        return call(async () => {
          if (fate.againAfterMs !== null) void this.#repeat(request, fate.againAfterMs)
          return this.#exchange(request)
        }, fate)
      },
      whenDecided: (leaseId) =>
        call(async () => {
          const { host, state, number: life } = this.#life
          const value = await host.whenDecided(leaseId)
          const step = { kind: 'claim', life, state, nowMs: this.#time.nowMs() } as const
          if (life === this.life) this.#witness.after({ ...step, request: null, reply: null })
          return { value, step: null }
        }),
      duties: (given) =>
        call(async () => this.#watched('duties', null, ({ host }) => host.duties(given))),
      explain: (question) => plain((host) => host.explain(question)),
      spending: (id) => plain((host) => host.spending(id)),
      keyForGeneration: (id, of) => plain((host) => host.keyForGeneration(id, of)),
      snapshot: () => plain((host) => host.snapshot()),
      requests: (query) => plain((host) => host.requests(query)),
      history: (query) => plain((host) => host.history(query)),
      usage: (query) => plain((host) => host.usage(query)),
      readings: () => plain((host) => host.readings()),
      health: () => plain((host) => host.health()),
      clientDirectory: (known) => plain((host) => host.clientDirectory(known)),
      manageClients: (given) =>
        call(async () => this.#watched('order', null, ({ host }) => host.manageClients(given))),
      visit: (given) => plain((host) => host.answers.visit(given)),
      purge: (given) => plain((host) => host.answers.purge(given)),
      epochs: () => plain((host) => host.answers.epochs()),
      control: (given) =>
        call(async () => this.#watched('order', null, ({ host }) => host.control(given))),
      overview: () => plain((host) => host.overview()),
      audit: () => plain((host) => host.audit()),
      noteInAudit: (change) => plain((host) => host.noteInAudit(change)),
      quotas: (id) => plain((host) => host.quotas(id)),
      alerts: (given) => plain((host) => host.alerts(given)),
    }
  }

  #comeUp(number: number, how: Ending | null): Life {
    const state = createPool(this.#config, this.#time.nowMs())
    const { timer, end, open } = createMortalTimer(this.#time)
    const host = new PoolHost(state, {
      nowMs: this.#time.nowMs,
      // Where only time passes, it is a step of the object as well.
      timer: (ms, callback) => timer(ms, () => void this.#watched('wake', null, callback)),
      random: this.#draw.unit,
      store: createStore(this.#disk.rows),
      sync: () => undefined,
      logBug: (bug) => void this.bugs.push(bug),
      logTransition: () => undefined,
      logAlert: () => undefined,
      logUndelivered: () => this.#witness.undelivered(),
      logDrift: () => undefined,
    })
    this.#witness.born(state, number, how)
    return { number, state, host, end, openTimers: open }
  }

  #end(how: Ending): void {
    this.#life.end()
    if (how === 'crash') this.#disk.crash()
    else this.#disk.settle()
    this.#life = this.#comeUp(this.life + 1, how)
    for (const breakOff of [...this.#breaks]) breakOff()
  }

  #watched<T>(
    kind: ObjectStep['kind'],
    request: ExchangeRequest | null,
    act: (life: Life) => T,
  ): { readonly step: ObjectStep; readonly value: T } {
    const { state, number: life } = this.#life
    const step: ObjectStep = { life, state, kind, nowMs: this.#time.nowMs(), request, reply: null }
    this.#witness.before(step)
    const value = act(this.#life)
    if (kind === 'exchange') step.reply = value as ExchangeReply
    this.#witness.after(step)
    return { step, value }
  }

  #exchange(request: ExchangeRequest): Carried<ExchangeReply> {
    return this.#watched('exchange', request, ({ host }) => host.exchange(request))
  }

  /** What an outbox sent, once more: as if its answer had been lost, and late. */
  async #repeat(request: ExchangeRequest, afterMs: number): Promise<void> {
    await this.#later(afterMs)
    this.counts.repeated += 1
    this.#exchange({ ...request, wants: [], lookups: [], orders: [], takesNoDuties: true })
  }

  #fate(): Fate {
    const { chance, int, of } = this.#draw
    const { slow, lost, repeated } = this.line
    const isSlow = chance(slow)
    const isLost = chance(lost)
    if (isSlow) this.counts.slow += 1
    if (isLost) this.counts.lost += 1
    return {
      outMs: isSlow ? int(100, 2_500) : int(1, 15),
      backMs: int(1, 15),
      lost: isLost ? of(['request', 'reply'] as const) : null,
      againAfterMs: chance(repeated) ? int(1, 3_000) : null,
    }
  }

  async #later(ms: number): Promise<void> {
    await new Promise<void>((resolve) => void this.#time.objectTimer(ms, resolve))
  }

  async #call<T>(
    carryOut: () => Promise<Carried<T>>,
    fate: Fate,
    caller: { readonly timer: VirtualTime['timer']; readonly isConnected: () => boolean },
  ): Promise<PoolAnswer<T>> {
    const { promise, resolve } = Promise.withResolvers<PoolAnswer<T>>()
    const fail = () => resolve({ kind: 'unavailable' })
    const cancel = caller.timer(GIVE_UP_MS, fail)
    const lost = caller.isConnected() ? fate.lost : 'request'
    void this.#carry(carryOut, { ...fate, lost }, fail).then((value) => {
      if (value !== null && caller.isConnected()) resolve({ kind: 'answer', value })
    })
    try {
      return await promise
    } finally {
      cancel()
      this.#breaks.delete(fail)
    }
  }

  /** Carries a call out, and its answer back; null if that is lost on one of the two ways. */
  async #carry<T>(
    carryOut: () => Promise<Carried<T>>,
    fate: Fate,
    fail: () => void,
  ): Promise<T | null> {
    await this.#later(fate.outMs)
    if (fate.lost === 'request') return null
    const { life } = this
    this.#breaks.add(fail)
    const { value, step } = await carryOut()
    if (life !== this.life) return null
    const sent = structuredClone(value)
    await this.#disk.whenDurable()
    if (life !== this.life) return null
    if (step !== null) this.#witness.released(step)
    this.#breaks.delete(fail)
    await this.#later(fate.backMs)
    return fate.lost === 'reply' ? null : sent
  }
}
