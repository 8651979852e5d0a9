import { paysUpToNanos } from '../clients/budget.ts'
import {
  breakerExclusions,
  type Claims,
  type Exclusion,
  exclusionsOf,
  isFreeModel,
  NO_CLAIMS,
  type Requirements,
  standingExclusions,
} from '../eligibility.ts'
import { type Bench, isActive } from '../health/bench.ts'
import { type KeyId, type ModelId, modelId } from '../ids.ts'
import type { LeaseRequest, Refusal } from '../lease-request.ts'
import { leftOf } from '../limits/meter.ts'
import { canWithdraw, paysAtMs } from '../limits/retry-budget.ts'
import { type SizeNote, tooLargeFrom } from '../limits/size-note.ts'
import type { KeyState, RouteState, Step } from '../pool-state.ts'
import { selects } from '../routes.ts'
import {
  latest,
  type ModelCandidates,
  modelsInOrder,
  type NoCandidate,
  requirementsOf,
} from '../selection.ts'
import { isPanicIn } from '../serving/candidates.ts'
import { type Waiter, waitsUntilMs } from './waiter.ts'
import type { Line, Offer } from './waiting-line.ts'
import { claimKey, firstFor, foremost, forget, noteMoment, restIfEmpty } from './waiting-queue.ts'

/**
 * How keys get to the waiters. A key is looked at after something that may have freed or changed it,
 * and only then: a settlement, an expiry, a key report, a moment that was noted. It goes to the
 * waiter that came first among those who can use it. If that one lacks only tokens and will have
 * them within its time, the key is claimed for it: nobody who came later takes them. So a waiter
 * never idles a key that is of no use to it, and no cost grows with the number of waiters.
 */

/** A key for a request, before anything is paid. */
export interface Choice {
  readonly kind: 'choice'
  readonly key: KeyState
  readonly model: ModelId
  readonly panic: boolean
}

/** How the pool grants leases. */
export interface Lending {
  /** Grants a key to a waiter, and keeps the lease for it. The waiter leaves the queue. */
  readonly lendTo: (step: Step, waiter: Waiter, choice: Choice) => void
  readonly choose: (
    step: Step,
    request: LeaseRequest,
    claims: Claims,
  ) => Choice | Refusal | NoCandidate
}

/** What is found out once while several keys are looked at. */
interface Pass {
  readonly step: Step
  readonly lending: Lending
  readonly panics: Map<string, boolean>
  isPanicSomewhere: boolean | null
}

const passOf = (step: Step, lending: Lending): Pass => ({
  step,
  lending,
  panics: new Map(),
  isPanicSomewhere: null,
})

/** Looks at the keys that have changed, and at the retries that the budget may pay for now. */
export function serveQueue(step: Step, lending: Lending): void {
  const { queue, keys } = step.state
  if (restIfEmpty(queue)) return
  const pass = passOf(step, lending)
  do {
    const changed = [...queue.changed].flatMap((id) => keys.get(id) ?? [])
    queue.changed.clear()
    // In panic open keys may serve too, but closed ones go first.
    const isClosed = ({ breaker }: KeyState) => breaker.kind === 'closed'
    for (const key of changed) if (isClosed(key)) serveKey(pass, key)
    for (const key of changed) if (!isClosed(key)) serveKey(pass, key)
    serveUnpaid(pass)
  } while (queue.changed.size > 0)
}

/**
 * Offers a key to the queue before a newcomer gets it.
 * @returns whether the key went to a waiter or is kept for one
 */
export function goesToWaiter(step: Step, lending: Lending, key: KeyState): boolean {
  const { queue } = step.state
  const before = queue.size
  serveKey(passOf(step, lending), key)
  return queue.size < before || queue.claims.has(key.id)
}

function serveKey(pass: Pass, key: KeyState): void {
  const { state, nowMs } = pass.step
  const { queue } = state
  const selected = new Map<number, boolean>()
  const offering = {
    nowMs,
    tooLargeFrom: Math.min(...notesOf(key).map((note) => tooLargeFrom(note, nowMs))),
    left: () => ({
      tokens: key.tpm === null ? Number.POSITIVE_INFINITY : leftOf(key.tpm, nowMs),
      nanos: key.spend === null ? Number.POSITIVE_INFINITY : paysUpToNanos(key.spend, nowMs),
    }),
    isFor: (line: Line) => isFor(pass, line, key, selected),
    offer: (waiter: Waiter) => offer(pass, waiter, key),
    hides: (untilMs: number) => noteMoment(queue, key.id, untilMs),
  }
  for (;;) {
    forget(queue, key.id)
    if (isOut(pass, key)) return
    noteSizes(pass.step, key)
    const first = firstFor(queue, offering)
    if (first === null) return
    const { waiter, offer: offered } = first
    if (offered.kind === 'later') {
      claimKey(queue, key.id, waiter)
      noteMoment(queue, key.id, Math.min(offered.atMs, waitsUntilMs(waiter)))
      return
    }
    const { model } = offered
    const panic = isPanicFor(pass, routeAt(pass, waiter), model)
    pass.lending.lendTo(pass.step, waiter, { kind: 'choice', key, model, panic })
  }
}

/** What is known of the money behind a key. */
function notesOf({ tooLarge, account }: KeyState): readonly (SizeNote | null)[] {
  return [tooLarge, account.tooLarge]
}

/** Those for whom a key has too little money are passed over, so it is looked at when that ends. */
function noteSizes({ state: { queue }, nowMs }: Step, key: KeyState): void {
  for (const note of notesOf(key)) {
    if (note === null || note.untilMs <= nowMs || note.untilMs >= queue.lastDeadlineMs) continue
    noteMoment(queue, key.id, note.untilMs)
  }
}

/** No model has an empty name. So benches of single models keep no key from the whole queue. */
const NO_MODEL = modelId('')

/** What the least request would require. */
const LEAST: Requirements = {
  model: NO_MODEL,
  triedKeys: [],
  excludedAccounts: [],
  tokens: 0,
  costNanos: 0,
  claimedKeys: NO_CLAIMS,
}

/** Whether a key may serve nobody now, whatever he asks for. */
function isOut(pass: Pass, key: KeyState): boolean {
  const { step } = pass
  const isBroken = breakerExclusions(key, step.nowMs).length > 0
  const exclusions = standingExclusions(key, NO_MODEL, step.nowMs)
  const isPassed = isBroken && isPanicSomewhere(pass)
  const own = exclusionsOf(step, { key, exclusions }, LEAST, isPassed)
  if (own.every(lacksTokens)) return false
  noteNextChange(step, { key, model: NO_MODEL, exclusions: own }, step.state.queue.lastDeadlineMs)
  return true
}

/** Whether an exclusion is only that the key has too few tokens left now. */
function lacksTokens({ reason, clearsAtMs, mayClearSooner }: Exclusion): boolean {
  return reason === 'at_tpm' && clearsAtMs !== null && !mayClearSooner
}

/** Whether the route of a line selects the key, and its waiters have not tried it. */
function isFor(pass: Pass, line: Line, key: KeyState, selected: Map<number, boolean>): boolean {
  const isSelected = selected.get(line.route) ?? isMember(pass.step.state.routes[line.route], key)
  selected.set(line.route, isSelected)
  const request = line.waiters[line.head]?.request
  if (!isSelected || request === undefined) return false
  return request.models.length > 1 || !request.triedKeys.includes(key.id)
}

function isMember(route: RouteState | undefined, { id, config, account }: KeyState): boolean {
  const selectors = route?.config.keys ?? null
  const key = { id, tags: config.tags, account: account.id }
  return selectors === null || selectors.some((selector) => selects(selector, key))
}

/** What a key has for a waiter. */
function offer(pass: Pass, waiter: Waiter, key: KeyState): Offer<ModelId> {
  const { step } = pass
  const { request, deadlineMs } = waiter
  let roomAtMs = Number.POSITIVE_INFINITY
  for (const model of modelsInOrder(step, request)) {
    const exclusions = exclusionsFor(pass, waiter, key, model)
    const isShort = exclusions.every(lacksTokens)
    if (isShort && !isPaid(step, request, model)) {
      noteUnpaid(step, waiter)
      return { kind: 'nothing' }
    }
    if (exclusions.length === 0) return { kind: 'now', model }
    if (isShort) roomAtMs = Math.min(roomAtMs, clearOf(exclusions))
    else noteNextChange(step, { key, model, exclusions }, deadlineMs)
  }
  return roomAtMs < deadlineMs ? { kind: 'later', atMs: roomAtMs } : { kind: 'nothing' }
}

function exclusionsFor(
  pass: Pass,
  waiter: Waiter,
  key: KeyState,
  model: ModelId,
): readonly Exclusion[] {
  const { step } = pass
  const requirements = requirementsOf(step, waiter.request, model, NO_CLAIMS)
  const exclusions = standingExclusions(key, model, step.nowMs)
  const isBroken = breakerExclusions(key, step.nowMs).length > 0
  const isPassed = isBroken && isPanicFor(pass, routeAt(pass, waiter), model)
  return exclusionsOf(step, { key, exclusions }, requirements, isPassed)
}

/** When the last of some exclusions ends. */
function clearOf(exclusions: readonly Exclusion[]): number {
  return latest(exclusions.map(({ clearsAtMs }) => clearsAtMs)) ?? Number.POSITIVE_INFINITY
}

function routeAt({ step: { state } }: Pass, { line }: Waiter): number {
  return state.queue.lines.get(line)?.route ?? 0
}

/** Whether breakers are ignored for a model. Found out once in a pass, and only if it matters. */
function isPanicFor(pass: Pass, route: number, model: ModelId): boolean {
  const { state } = pass.step
  const routeState = state.routes[route]
  if (state.policy.panicRatio === 0 || routeState === undefined) return false
  const name = `${route} ${model}`
  const panic = pass.panics.get(name) ?? isPanicIn(pass.step, routeState, model)
  pass.panics.set(name, panic)
  return panic
}

/**
 * Whether there is panic for any of those who wait. Models without benches of their own are alike, so
 * a hundred names cost one look at the keys.
 */
function isPanicSomewhere(pass: Pass): boolean {
  const { state } = pass.step
  if (state.policy.panicRatio === 0) return false
  if (pass.isPanicSomewhere !== null) return pass.isPanicSomewhere
  const benched = new Set([...state.accounts.values()].flatMap((a) => [...a.modelBenches.keys()]))
  const alike = new Map<string, { route: number; model: ModelId }>()
  for (const { route, waiters, head } of state.queue.lines.values()) {
    for (const model of waiters[head]?.request.models ?? []) {
      const name = benched.has(model) ? model : String(isFreeModel(model))
      alike.set(`${route} ${name}`, { route, model })
    }
  }
  const isPanic = [...alike.values()].some(({ route, model }) => isPanicFor(pass, route, model))
  pass.isPanicSomewhere = isPanic
  return isPanic
}

/** A key that may not serve a model, and why. */
interface Excluded {
  readonly key: KeyState
  readonly model: ModelId
  readonly exclusions: readonly Exclusion[]
}

/** Notes when time alone next changes something about a key, if that is before a deadline. */
function noteNextChange({ state, nowMs }: Step, excluded: Excluded, deadlineMs: number): void {
  const { key, model, exclusions } = excluded
  let atMs = deadlineMs
  for (const exclusion of exclusions) {
    if (isOverspent(exclusion)) state.queue.overspent.add(key.id)
    atMs = Math.min(atMs, endOf(exclusion, key) ?? atMs)
  }
  // A bench that a lookup cures may lapse before.
  for (const bench of benchesOf(key, model)) {
    if (isActive(bench, nowMs)) atMs = Math.min(atMs, bench.untilMs ?? deadlineMs)
  }
  if (nowMs < atMs && atMs < deadlineMs) noteMoment(state.queue, key.id, atMs)
}

/** Whether a key is out only by what its running requests are expected to cost. */
function isOverspent({ reason, mayClearSooner }: Exclusion): boolean {
  return mayClearSooner && (reason === 'below_min_credit' || reason === 'at_max_spend')
}

/** When time alone ends an exclusion, in epoch milliseconds; null if nobody knows. */
function endOf({ reason, clearsAtMs, mayClearSooner }: Exclusion, { credit }: KeyState) {
  if (!mayClearSooner || reason === 'at_max_spend') return clearsAtMs
  return reason === 'below_min_credit' && credit.kind === 'known' ? credit.resetsAtMs : null
}

/**
 * The benches that keep a key from a model. A broken key serves in panic, for which it counts as soon
 * as its benches for one model end: if no model is given, those for all models are named.
 */
function benchesOf(key: KeyState, model: ModelId): readonly (Bench | null)[] {
  const { bench, account, creator, workspace } = key
  const { modelBenches } = account
  const isOfAll = model === NO_MODEL && modelBenches.size > 0 && key.breaker.kind !== 'closed'
  const ofModels = isOfAll ? modelBenches.values() : [modelBenches.get(model) ?? null]
  const ofGroups = [creator?.bench ?? null, workspace?.bench ?? null]
  return [bench, account.bench, account.freeBench, ...ofGroups, ...ofModels]
}

/** Has a newcomer to the queue wait for the keys that may serve it: claims and moments. */
export function awaitKeys(step: Step, waiter: Waiter, unserved: readonly ModelCandidates[]): void {
  const { request } = waiter
  const order = modelsInOrder(step, request)
  const inOrder = unserved.toSorted((a, b) => order.indexOf(a.model) - order.indexOf(b.model))
  // A key goes to the first model that it may serve. If that one is not paid for, nor are the others.
  const unpaidKeys = new Set<KeyId>()
  for (const { model, filtered } of inOrder) {
    const mayClaim = isPaid(step, request, model)
    if (!mayClaim) noteUnpaid(step, waiter)
    for (const { key, exclusions } of filtered.excluded) {
      if (unpaidKeys.has(key.id)) continue
      if (!exclusions.every(lacksTokens)) {
        noteNextChange(step, { key, model, exclusions }, waiter.deadlineMs)
      } else if (mayClaim) awaitTokens(step, waiter, key, clearOf(exclusions))
      else unpaidKeys.add(key.id)
    }
  }
}

function awaitTokens({ state }: Step, waiter: Waiter, key: KeyState, roomAtMs: number): void {
  if (roomAtMs >= waiter.deadlineMs) return
  claimKey(state.queue, key.id, waiter)
  noteMoment(state.queue, key.id, Math.min(roomAtMs, waitsUntilMs(waiter)))
}

/** Whether the retry budget pays for a request with this model, if it has to. */
function isPaid(
  { state, nowMs }: Step,
  { models, attempt }: LeaseRequest,
  model: ModelId,
): boolean {
  if (attempt !== 'retry' || model !== models[0]) return true
  return canWithdraw(state.retryBudget, { model, policy: state.policy.retryBudget }, nowMs)
}

/** Notes that a retry waits for the budget, and when the budget may pay. */
function noteUnpaid({ state, nowMs }: Step, { line, request }: Waiter): void {
  const [model] = request.models
  const budgeted = { model, policy: state.policy.retryBudget }
  state.queue.unpaid.add(line)
  state.queue.paidAtMs = Math.min(
    state.queue.paidAtMs,
    paysAtMs(state.retryBudget, budgeted, nowMs),
  )
}

/** Serves the retries that a key may be free for, since only the budget was in their way. */
function serveUnpaid({ step, lending }: Pass): void {
  const { queue } = step.state
  if (queue.unpaid.size === 0 || step.nowMs < queue.paidAtMs) return
  const waiters = [...queue.unpaid].flatMap((name) => foremost(queue, name, step.nowMs))
  queue.unpaid.clear()
  queue.paidAtMs = Number.POSITIVE_INFINITY
  for (const waiter of waiters.toSorted((a, b) => a.arrival - b.arrival)) {
    if (!isPaid(step, waiter.request, waiter.request.models[0])) {
      noteUnpaid(step, waiter)
      continue
    }
    const others: Claims = {
      size: queue.claims.size,
      has: (key) => (queue.claims.get(key) ?? waiter) !== waiter,
    }
    const chosen = lending.choose(step, waiter.request, others)
    if (chosen.kind === 'no_candidate') awaitKeys(step, waiter, chosen.models)
    if (chosen.kind !== 'choice') continue
    lending.lendTo(step, waiter, chosen)
  }
}
