import type { LineRange } from '../files/line-ranges.ts'
import { type BatchEnding, type BatchRecord, emptyTally, type Tally } from './batch-record.ts'

/**
 * The decisions about a batch: which lines are due, who may run them, and what counts. Pure functions
 * over a state in memory; the host writes down what changed after each.
 *
 * A message only wakes a consumer up, and may be lost, late or doubled: what may run is decided when a
 * range is claimed. A claim has a term. A consumer that dies is heard of no more, its claim ends, and
 * the range is sent again. The first record of a line counts, whoever brings it.
 */
export interface BatchState {
  readonly record: BatchRecord
  readonly ranges: readonly RangeState[]
  readonly tally: Tally
  /** What has to be written down. */
  readonly changed: { record: boolean; readonly ranges: Set<number> }
}

export interface RangeState {
  readonly id: number
  readonly range: LineRange
  phase: RangePhase
  /** The lines without a record. */
  readonly open: Set<number>
  /** Attempts that an upstream fault has cost a line, beyond what its consumer remembers. */
  readonly tries: Map<number, number>
  /** How often it was sent without being claimed. */
  sends: number
  /** Claims that died in turn, without a record in between. */
  deaths: number
}

export type RangePhase =
  /** To be named in a message from then on. */
  | { readonly kind: 'waiting'; readonly atMs: number }
  /** Named in a message, which counts as lost from then on. */
  | { readonly kind: 'sent'; readonly untilMs: number }
  | { readonly kind: 'claimed'; readonly token: string; readonly untilMs: number }
  | { readonly kind: 'done' }

/** `dead`: each Worker that ran it has died. */
export type LineOutcome = 'completed' | 'failed' | 'dead'

/** What a consumer may run. */
export interface Claim {
  readonly lines: readonly { readonly line: number; readonly tries: number }[]
  readonly range: LineRange
}

/** A consumer says a word at least every third of this. Without one it has died. */
export const CLAIM_MS = 90_000

/** After so long a message counts as lost; the time doubles each time, since the queue may be long. */
const LOST_MS = 5 * 60_000
const MAX_LOST_MS = 60 * 60_000

/**
 * The most ranges that are under way: each is a consumer with one line in hand. 50,000 lines of five
 * seconds take three quarters of an hour so. Without room each of them asks the pool again and again, so
 * more would be a load. The queue takes as many messages at once.
 */
export const MAX_UNDER_WAY = 100

/** After so many dead claims in turn a line of the range is to blame: they are handed out one by one. */
const DEATHS_OF_RANGE = 2
/** After so many more, the one that was handed out alone is dead. */
const DEATHS_OF_LINE = 2

export function createBatchState(record: BatchRecord, ranges: readonly LineRange[]): BatchState {
  return {
    record,
    ranges: ranges.map((range, id) => ({
      ...{ id, range, phase: { kind: 'waiting', atMs: 0 } as const },
      ...{ open: openLines(range), tries: new Map(), sends: 0, deaths: 0 },
    })),
    tally: record.tally ?? emptyTally(),
    changed: { record: true, ranges: new Set(ranges.keys()) },
  }
}

export function openLines({ firstRequest, requests }: LineRange): Set<number> {
  return new Set(Array.from({ length: requests }, (_, i) => firstRequest + i))
}

/** The batch's lines may run from now on. */
export function begin(state: BatchState, nowMs: number): void {
  if (state.record.status === 'validating') enter(state, 'in_progress', nowMs)
}

/** Gives a range to a consumer; null if nothing of it may run now. */
export function claim(
  state: BatchState,
  rangeId: number,
  token: string,
  nowMs: number,
): Claim | null {
  const range = state.ranges[rangeId]
  if (range === undefined || range.phase.kind === 'done' || !mayRun(state, nowMs)) return null
  const { phase } = range
  if (phase.kind === 'claimed' && phase.untilMs > nowMs) return null
  // A message that comes twice does not shorten a backoff.
  if (phase.kind === 'waiting' && phase.atMs > nowMs) return null
  // Nobody has looked at it since it died.
  if (phase.kind === 'claimed') letDie(state, range, nowMs)
  const all = [...range.open]
  if (isDeadLine(range)) return null
  const lines = range.deaths >= DEATHS_OF_RANGE ? all.slice(0, 1) : all
  range.sends = 0
  setPhase(state, range, { kind: 'claimed', token, untilMs: nowMs + CLAIM_MS })
  return {
    lines: lines.map((line) => ({ line, tries: range.tries.get(line) ?? 0 })),
    range: range.range,
  }
}

/** A word of a consumer. @returns whether it may begin further lines */
export function renew(state: BatchState, rangeId: number, token: string, nowMs: number): boolean {
  const range = holderOf(state, rangeId, token)
  if (range === null) return false
  setPhase(state, range, { kind: 'claimed', token, untilMs: nowMs + CLAIM_MS })
  return mayRun(state, nowMs)
}

/** Whether a consumer may begin further lines, without a word of its own. */
export function mayGoOn(
  state: BatchState,
  { rangeId, token }: { readonly rangeId: number; readonly token: string },
  nowMs: number,
): boolean {
  return holderOf(state, rangeId, token) !== null && mayRun(state, nowMs)
}

/**
 * A line has ended.
 * @returns `repeated` if it has a record already: this one does not count
 */
export function record(
  state: BatchState,
  { rangeId, line }: { readonly rangeId: number; readonly line: number },
  outcome: LineOutcome,
): 'recorded' | 'repeated' {
  const range = state.ranges[rangeId]
  if (!range?.open.delete(line)) {
    state.record.repeated += 1
    state.changed.record = true
    return 'repeated'
  }
  range.tries.delete(line)
  if (outcome === 'completed') state.tally.completed += 1
  else state.tally.failed += 1
  if (outcome === 'dead') state.tally.dead += 1
  const isOneByOne = range.deaths >= DEATHS_OF_RANGE
  // Of a range whose claims died, each line has to show by itself that it is not to blame.
  range.deaths = isOneByOne ? DEATHS_OF_RANGE : 0
  if (range.open.size === 0) setPhase(state, range, { kind: 'done' })
  else if (isOneByOne) setPhase(state, range, { kind: 'waiting', atMs: 0 })
  return 'recorded'
}

/** A consumer gives a range back, with lines that have no record. */
export function giveBack(
  state: BatchState,
  { rangeId, token }: { rangeId: number; token: string },
  { tries, delayMs }: { tries: ReadonlyMap<number, number>; delayMs: number },
  nowMs: number,
): void {
  const range = holderOf(state, rangeId, token)
  if (range === null) return
  for (const [line, count] of tries) if (range.open.has(line)) range.tries.set(line, count)
  range.deaths = range.deaths >= DEATHS_OF_RANGE ? DEATHS_OF_RANGE : 0
  setPhase(state, range, { kind: 'waiting', atMs: nowMs + delayMs })
}

/** Finds what has died, was lost or is too late. */
export function sweep(state: BatchState, nowMs: number): void {
  if (isRunning(state) && nowMs >= state.record.expiresAtMs) end(state, 'expired')
  for (const range of state.ranges) {
    const { phase } = range
    if ((phase.kind !== 'claimed' && phase.kind !== 'sent') || phase.untilMs > nowMs) continue
    if (phase.kind === 'claimed') letDie(state, range, nowMs)
    else setPhase(state, range, { kind: 'waiting', atMs: nowMs })
  }
}

/** The ranges that have to be named in a message now. */
export function dueRanges(state: BatchState, nowMs: number): readonly number[] {
  if (!isRunning(state)) return []
  const underWay = state.ranges.filter(({ phase }) => isUnderWay(phase)).length
  return state.ranges
    .filter((range) => range.phase.kind === 'waiting' && range.phase.atMs <= nowMs)
    .filter((range) => !isDeadLine(range))
    .slice(0, Math.max(0, MAX_UNDER_WAY - underWay))
    .map(({ id }) => id)
}

/** The messages are on their way. What was claimed meanwhile stays so. */
export function markSent(state: BatchState, ids: readonly number[], nowMs: number): void {
  for (const id of ids) {
    const range = state.ranges[id]
    if (range?.phase.kind !== 'waiting') continue
    const lostMs = Math.min(MAX_LOST_MS, LOST_MS * 2 ** range.sends)
    range.sends += 1
    setPhase(state, range, { kind: 'sent', untilMs: nowMs + lostMs })
  }
}

/** @returns false if the batch has ended, or ends already */
export function cancel(state: BatchState, nowMs: number): boolean {
  if (state.record.status !== 'validating' && !isRunning(state)) return false
  enter(state, 'cancelling', nowMs)
  end(state, 'cancelled')
  return true
}

/** Lines of one range that nobody will run. They get their records without an answer. */
export interface Unrun {
  readonly rangeId: number
  readonly range: LineRange
  readonly lines: readonly number[]
  readonly why: 'expired' | 'cancelled' | 'dead'
}

/** The next lines that nobody will run; null if there are none now. */
export function nextUnrun(state: BatchState): Unrun | null {
  const { ending } = state.record
  for (const range of state.ranges) {
    // What runs is waited for, until its claim ends.
    if (range.phase.kind === 'done' || range.phase.kind === 'claimed') continue
    const [first] = range.open
    const about = { rangeId: range.id, range: range.range }
    if (ending === 'expired' || ending === 'cancelled') {
      return { ...about, lines: [...range.open], why: ending }
    }
    if (isDeadLine(range) && first !== undefined) return { ...about, lines: [first], why: 'dead' }
  }
  return null
}

/** Whether every line has its record, so that the files can be written. */
export function isReady(state: BatchState): boolean {
  const { status } = state.record
  if (status !== 'in_progress' && status !== 'cancelling' && status !== 'finalizing') return false
  return state.ranges.every(({ phase }) => phase.kind === 'done')
}

/** The files are being written. */
export function finalize(state: BatchState, nowMs: number): void {
  // A batch that was cancelled shows that until its end.
  if (state.record.status === 'in_progress') enter(state, 'finalizing', nowMs)
  end(state, state.record.ending ?? 'completed')
}

/** The files are there. */
export function finish(
  state: BatchState,
  files: Pick<BatchRecord, 'outputFileId' | 'errorFileId'>,
  nowMs: number,
): void {
  const { record, tally } = state
  Object.assign(record, files)
  record.tally = { ...tally }
  enter(state, record.ending ?? 'completed', nowMs)
}

/**
 * Lets dead lines run once more. Of a batch that has ended the files are written anew.
 * @param lines those that were recorded as dead. Their records are gone
 */
export function redrive(
  state: BatchState,
  lines: readonly number[],
  windowMs: number,
  nowMs: number,
): void {
  const { record, tally } = state
  for (const range of state.ranges) {
    const { firstRequest, requests } = range.range
    const own = lines.filter((line) => line >= firstRequest && line < firstRequest + requests)
    if (own.length === 0) continue
    for (const line of own) range.open.add(line)
    Object.assign(range, { deaths: 0, sends: 0 })
    // A claim of other lines goes on, and what is left is sent when it ends.
    if (range.phase.kind !== 'claimed') setPhase(state, range, { kind: 'waiting', atMs: nowMs })
  }
  tally.failed -= lines.length
  tally.dead -= lines.length
  record.redrives += 1
  record.tally = null
  record.isEndTold = false
  if (record.ending !== null) {
    record.expiresAtMs = nowMs + windowMs
    record.ending = null
    enter(state, 'in_progress', nowMs)
  }
  state.changed.record = true
}

/** When there is something to do without anybody asking; null if never. */
export function nextLookMs(state: BatchState): number | null {
  const { record } = state
  if (isEnded(record)) return null
  const looks = state.ranges.flatMap(({ phase }) => {
    if (phase.kind === 'done') return []
    return phase.kind === 'waiting' ? [phase.atMs] : [phase.untilMs]
  })
  const underWay = state.ranges.filter(({ phase }) => isUnderWay(phase))
  // Those that wait for a place are sent when one is given back.
  const isFull = underWay.length >= MAX_UNDER_WAY
  const due = isFull ? underWay.map(({ phase }) => untilOf(phase)) : looks
  const times = record.ending === null ? [record.expiresAtMs, ...due] : due
  return times.length === 0 ? null : times.reduce((least, each) => Math.min(least, each))
}

export function isEnded({ status }: Pick<BatchRecord, 'status'>): boolean {
  return ['completed', 'failed', 'expired', 'cancelled'].includes(status)
}

/** How many lines are in ranges that consumers have now. */
export function linesClaimed({ ranges }: BatchState): number {
  return ranges.reduce(
    (sum, { phase, open }) => sum + (phase.kind === 'claimed' ? open.size : 0),
    0,
  )
}

const untilOf = (phase: RangePhase): number =>
  'untilMs' in phase ? phase.untilMs : Number.POSITIVE_INFINITY

const isUnderWay = ({ kind }: RangePhase): boolean => kind === 'sent' || kind === 'claimed'

const isRunning = ({ record: { status, ending } }: BatchState): boolean =>
  status === 'in_progress' && ending === null

/** The alarm that ends a batch may be late. */
const mayRun = (state: BatchState, nowMs: number): boolean =>
  isRunning(state) && nowMs < state.record.expiresAtMs

function holderOf(state: BatchState, rangeId: number, token: string): RangeState | null {
  const range = state.ranges[rangeId]
  return range?.phase.kind === 'claimed' && range.phase.token === token ? range : null
}

function letDie(state: BatchState, range: RangeState, nowMs: number): void {
  const { record } = state
  // Its consumer had one line in hand at most.
  record.rerun = (record.rerun ?? 0) + 1
  state.changed.record = true
  range.deaths += 1
  setPhase(state, range, { kind: 'waiting', atMs: nowMs })
}

const isDeadLine = ({ deaths }: RangeState): boolean => deaths >= DEATHS_OF_RANGE + DEATHS_OF_LINE

function setPhase(state: BatchState, range: RangeState, phase: RangePhase): void {
  range.phase = phase
  state.changed.ranges.add(range.id)
}

function end(state: BatchState, ending: BatchEnding): void {
  state.record.ending = ending
  state.changed.record = true
}

function enter(
  state: BatchState,
  status: Exclude<BatchRecord['status'], 'validating'>,
  nowMs: number,
): void {
  state.record.status = status
  state.record.times[status] = nowMs
  state.changed.record = true
}
