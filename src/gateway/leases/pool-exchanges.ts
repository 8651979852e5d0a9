import type { GenerationReport } from '../../balancing/accounting/reconciliation.ts'
import type { AlertDuty, DeliveryReport } from '../../balancing/alerts/alert-outbox.ts'
import type { KeyReport } from '../../balancing/health/key-report.ts'
import type { LeaseId } from '../../balancing/ids.ts'
import type { LeaseRequest } from '../../balancing/lease-request.ts'
import type { LeaseBegin } from '../../balancing/limits/lease-order.ts'
import type { Settlement } from '../../balancing/settlement.ts'
import type { PoolAnswer, PoolClient } from '../../key-pool/pool-client.ts'
import type { ExchangeReply, ExchangeRequest } from '../../key-pool/protocol.ts'
import { type Ports, sleep } from '../ports.ts'
import { inSpan, type SpanFacts } from '../spans.ts'
import { loadCargo, returnCargo, unloadCargo } from './cargo.ts'
import type { GenerationLookups } from './generation-lookups.ts'
import type { IsolateLeases } from './isolate-leases.ts'
import type { KeyLookups } from './key-lookups.ts'
import { dropKey, isBusy, isStocked } from './lease-stock.ts'
import {
  FLUSH_MS,
  flushDue,
  isEmpty,
  OVERDUE_MS,
  oweBeginAnew,
  oweSettlement,
  owesLeases,
  unusedAhead,
} from './outbox.ts'

/** How long what could not be delivered waits for the second try. */
const AGAIN_MS = 1_000

/** An isolate with running leases tells of itself at least this often. */
const BEAT_MS = 900

/** Less than the silence after which the object gives up the leases of an isolate. */
const UNHEARD_MS = 2_000

/** An isolate that holds idle leases asks the object at least this often whether somebody waits. */
const UNTENDED_MS = 500

export interface PoolExchangesParts {
  readonly ports: Ports
  readonly pool: PoolClient
  readonly lookups: KeyLookups
  readonly generations: GenerationLookups
  /** Sends messages to operators, and never rejects. */
  deliver(duties: readonly AlertDuty[]): Promise<readonly DeliveryReport[]>
  readonly leases: IsolateLeases
  /** Keeps the Worker alive for work that no request waits for. */
  background(work: Promise<void>): void
}

/** The exchanges that one request makes with the pool's object: its own, and the isolate's. */
export interface PoolExchanges {
  /** Whether the object failed to answer this request's last exchange. */
  isUnreachable(): boolean
  /** One exchange. What the isolate owes goes along, and orders for its stock. */
  send(wants: readonly LeaseRequest[]): Promise<PoolAnswer<ExchangeReply>>
  /** Lets settlements go along with the exchange that is made next. */
  owe(settlements: readonly Settlement[]): void
  /**
   * Gives leases back. A busy isolate collects settlements for a quarter of a second, unless one of
   * them benches or opens something. All others are sent at once, and again if they are lost.
   */
  settle(settlements: readonly Settlement[]): Promise<void>
  /** Sees to it that what is owed is sent soon, by this request or by another. */
  flushSoon(): void
  /** Makes an exchange for the sake of the orders that are due. */
  refill(): void
  /**
   * Tells of this isolate until the lease has its settlement.
   * @param begin what the pool is told of the lease if it may have given it up
   */
  keepTelling(begin: LeaseBegin): void
}

/** What duties have shown. */
interface Reports {
  readonly keys: readonly KeyReport[]
  readonly reconciled: readonly GenerationReport[]
  readonly delivered: readonly DeliveryReport[]
}

const NO_REPORTS: Reports = { keys: [], reconciled: [], delivered: [] }

function reportFields({ keys, reconciled, delivered }: Reports) {
  return {
    lookups: keys,
    ...(reconciled.length === 0 ? {} : { reconciled }),
    ...(delivered.length === 0 ? {} : { delivered }),
  }
}

/** Carries out the duties of a reply. They are reported apart: some answer sooner than others. */
function carryOut(
  {
    lookups,
    generations,
    deliver,
  }: Pick<PoolExchangesParts, 'lookups' | 'generations' | 'deliver'>,
  reply: ExchangeReply,
): Promise<Reports>[] {
  const found: Promise<Reports>[] = []
  if (reply.lookups.length > 0) {
    found.push(lookups(reply.lookups).then((keys) => ({ ...NO_REPORTS, keys })))
  }
  if (reply.generations !== undefined) {
    const asked = generations(reply.generations)
    found.push(asked.then((reconciled) => ({ ...NO_REPORTS, reconciled })))
  }
  if (reply.alerts !== undefined) {
    found.push(deliver(reply.alerts).then((delivered) => ({ ...NO_REPORTS, delivered })))
  }
  return found
}

function factsOf(
  { wants, settlements }: ExchangeRequest,
  answer: PoolAnswer<ExchangeReply>,
): SpanFacts {
  const [decision] = answer.kind === 'answer' ? answer.value.decisions : []
  return {
    'switchyard.lease_requests': wants.length,
    'switchyard.settlements': settlements.length,
    // What became of the request's own lease request.
    'switchyard.outcome': decision?.kind ?? answer.kind,
    ...(decision?.kind === 'grant' ? { 'switchyard.key': decision.keyId } : {}),
  }
}

function exchangeInSpan(
  { ports, pool }: Pick<PoolExchangesParts, 'ports' | 'pool'>,
  request: ExchangeRequest,
): Promise<PoolAnswer<ExchangeReply>> {
  return inSpan(ports, 'pool.exchange', async (note) => {
    const answer = await pool
      .exchange(request)
      // Whatever went wrong, what all requests of the isolate owe must not be lost with it.
      .catch((): PoolAnswer<ExchangeReply> => ({ kind: 'unavailable' }))
    note(factsOf(request, answer))
    return answer
  })
}

export function createPoolExchanges(parts: PoolExchangesParts): PoolExchanges {
  const { ports, leases, background } = parts
  const { stock, outbox } = leases
  let unreachable = false
  let telling: LeaseId | null = null
  let stopTelling: () => void = () => undefined
  const exchange = async (wants: readonly LeaseRequest[], reports: Reports) => {
    const cargo = loadCargo(leases, ports.nowMs())
    const request = { version: 1, wants, ...cargo.fields, ...reportFields(reports) } as const
    const answer = await exchangeInSpan(parts, request)
    unreachable = answer.kind === 'unavailable'
    if (answer.kind === 'unavailable') {
      returnCargo(leases, cargo, answer.unasked !== true, ports.nowMs())
      return answer
    }
    const { value } = answer
    // Somebody waits for what this isolate holds: it does not wait for the next exchange.
    if (unloadCargo(leases, cargo, value, ports.nowMs())) background(exchangeOnly())
    else lookAfterStock(parts, exchangeOnly)
    // The reply may hand out more lookup duties: one exchange hands out only a limited number.
    for (const found of carryOut(parts, value)) background(found.then(exchangeOnly))
    return answer
  }
  /** An exchange that no request waits for. What it could not deliver has to be sent by somebody. */
  const exchangeOnly = async (reports = NO_REPORTS) => {
    const answer = await exchange([], reports)
    if (answer.kind === 'unavailable' && !isEmpty(outbox)) flushSoon()
  }
  const flush = async () => {
    outbox.flushAtMs = null
    if (isEmpty(outbox) || (await exchange([], NO_REPORTS)).kind === 'answer') return
    await sleep(ports, AGAIN_MS)
    if (!isEmpty(outbox)) await exchange([], NO_REPORTS)
  }
  const flushLater = async () => {
    let atMs: number
    do {
      atMs = outbox.sinceMs + FLUSH_MS
      outbox.flushAtMs = atMs
      await sleep(ports, atMs - ports.nowMs())
      // Another exchange may have taken along what was owed. What is owed since may wait its time.
      // The platform's clock may stand still, so it is as late as the timer says.
    } while (!isEmpty(outbox) && Math.max(atMs, ports.nowMs()) < outbox.sinceMs + FLUSH_MS)
    await flush()
  }
  const flushSoon = () => {
    const due = flushDue(outbox, ports.nowMs())
    if (due === 'now') background(flush())
    if (due === 'soon') background(flushLater())
  }
  const owe = (settlements: readonly Settlement[]) => {
    for (const settlement of settlements) {
      oweSettlement(outbox, settlement, ports.nowMs())
      if (settlement.leaseId === telling) stopTelling()
      if (!isTrouble(settlement)) continue
      outbox.isUrgent = true
      for (const lease of dropKey(stock, settlement.keyId)) {
        oweSettlement(outbox, unusedAhead(lease), ports.nowMs())
      }
    }
  }
  return {
    owe,
    isUnreachable: () => unreachable,
    send: (wants) => exchange(wants, NO_REPORTS),
    flushSoon,
    refill: () => background(exchangeOnly()),
    async settle(settlements) {
      owe(settlements)
      if (isEmpty(outbox)) return
      if (!owesLeases(outbox)) return flushSoon()
      if (isBusy(stock, ports.nowMs()) && !outbox.isUrgent) flushSoon()
      else await flush()
    },
    keepTelling(begin) {
      stopTelling()
      telling = begin.leaseId
      const endsAtMs = ports.nowMs() + begin.leaseMs
      const beat = () => {
        const nowMs = ports.nowMs()
        // The object has heard nothing for so long that it may have given the lease up: it is told anew.
        if (nowMs - leases.heardAtMs >= UNHEARD_MS) {
          oweBeginAnew(outbox, { ...begin, leaseMs: Math.max(0, endsAtMs - nowMs) }, nowMs)
          flushSoon()
        } else if (nowMs - leases.toldAtMs >= BEAT_MS) {
          // One word is for all requests of the isolate.
          background(exchangeOnly())
        }
        stopTelling = ports.timer(BEAT_MS, beat)
      }
      stopTelling = ports.timer(BEAT_MS, beat)
    },
  }
}

/**
 * Leases ahead that stand idle go back as soon as somebody waits for one, or when their time is over,
 * even if this isolate has no further request that would learn of it.
 * @param ask makes an exchange
 */
function lookAfterStock(
  { ports, leases, background }: PoolExchangesParts,
  ask: () => Promise<void>,
): void {
  const { stock } = leases
  const { lookAtMs } = stock
  const lookLater = async () => {
    do {
      stock.lookAtMs = leases.heardAtMs + UNTENDED_MS
      await sleep(ports, stock.lookAtMs - ports.nowMs())
    } while (isStocked(stock) && ports.nowMs() < leases.heardAtMs + UNTENDED_MS)
    stock.lookAtMs = null
    if (isStocked(stock)) await ask()
  }
  // The request that has undertaken it may have died: then another does.
  const isLookedAfter = lookAtMs !== null && ports.nowMs() <= lookAtMs + OVERDUE_MS
  if (!isLookedAfter && isStocked(stock)) background(lookLater())
}

/** Whether a settlement benches or opens something, or may: the pool should know it at once. */
function isTrouble({ outcome, benches, suspect }: Settlement): boolean {
  return outcome === 'failure' || benches.length > 0 || suspect
}
