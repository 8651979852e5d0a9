import type { ClientId, GroupId, KeyId, ModelId } from '../ids.ts'
import type { Fault, Outcome, Usage } from '../settlement.ts'
import { createRequestCounts, type RequestCounts } from './request-row.ts'

/** Counts of attempts by outcome and fault, with their tokens and their cost. */
export interface Counters {
  attempts: number
  successes: number
  failures: number
  ignored: number
  faults: Partial<Record<Fault, number>>
  promptTokens: number
  completionTokens: number
  cachedTokens: number
  reasoningTokens: number
  costUsd: number
  /** Of these attempts, those whose usage is an estimate, and what they count of the rest. */
  estimated: number
  estimatedUsd: number
  estimatedPromptTokens: number
  estimatedCompletionTokens: number
}

/** Counters in total and for one UTC day, with the spending of that day's week and month. */
export interface Tally {
  readonly total: Counters
  /** Days since 1970-01-01. */
  day: number
  today: Counters
  weekUsd: number
  monthUsd: number
}

/** Spending in USD, by OpenRouter's windows: UTC days, weeks that begin on Monday, months. */
export interface Spending {
  readonly totalUsd: number
  readonly todayUsd: number
  readonly weekUsd: number
  readonly monthUsd: number
}

/**
 * Counters by key, model, client and group. An account's counters are the sums over its keys.
 * Model names come from callers, so their number is bounded. A client that sends random model names
 * must not grow the object's memory.
 */
export interface Ledger {
  readonly all: Tally
  readonly byKey: Map<KeyId, Tally>
  readonly byModel: Map<string, Tally>
  readonly byClient: Map<ClientId, Tally>
  /** An attempt counts for the group that its client was in at the grant. */
  readonly byGroup: Map<GroupId, Tally>
  readonly requests: RequestCounts
}

const MAX_MODELS = 500

/** The entry for all models beyond the bound. No model has this name. */
export const OTHER_MODELS = '(other)'

export const DAY_MS = 24 * 60 * 60 * 1000

/** A ledger without entries. */
export function createLedger(): Ledger {
  return {
    all: createTally(0),
    byKey: new Map(),
    byModel: new Map(),
    byClient: new Map(),
    byGroup: new Map(),
    requests: createRequestCounts(),
  }
}

function createTally(day: number): Tally {
  return { total: createCounters(), day, today: createCounters(), weekUsd: 0, monthUsd: 0 }
}

/** What was spent since midnight UTC, in USD. */
export function spentToday({ day, today }: Tally, nowMs: number): number {
  return day === dayOf(nowMs) ? today.costUsd : 0
}

/** What was counted since midnight UTC. */
export function countersOfToday({ day, today }: Tally, nowMs: number): Counters {
  return day === dayOf(nowMs) ? today : createCounters()
}

export const NO_SPENDING: Spending = { totalUsd: 0, todayUsd: 0, weekUsd: 0, monthUsd: 0 }

/** What a tally says of the spending in the current UTC day, week and month. */
export function spendingOf(tally: Tally, nowMs: number): Spending {
  const day = dayOf(nowMs)
  return {
    totalUsd: tally.total.costUsd,
    todayUsd: spentToday(tally, nowMs),
    weekUsd: weekOf(tally.day) === weekOf(day) ? tally.weekUsd : 0,
    monthUsd: monthOf(tally.day) === monthOf(day) ? tally.monthUsd : 0,
  }
}

/** The number of a week. Day 0, 1970-01-01, was a Thursday, and weeks begin on Monday. */
function weekOf(day: number): number {
  return Math.floor((day + 3) / 7)
}

function monthOf(day: number): number {
  const date = new Date(day * DAY_MS)
  return date.getUTCFullYear() * 12 + date.getUTCMonth()
}

/** The UTC day of a moment, in days since 1970-01-01. */
export function dayOf(nowMs: number): number {
  return Math.floor(nowMs / DAY_MS)
}

/** Counters at zero. */
export function createCounters(): Counters {
  return {
    attempts: 0,
    successes: 0,
    failures: 0,
    ignored: 0,
    faults: {},
    promptTokens: 0,
    completionTokens: 0,
    cachedTokens: 0,
    reasoningTokens: 0,
    costUsd: 0,
    estimated: 0,
    estimatedUsd: 0,
    estimatedPromptTokens: 0,
    estimatedCompletionTokens: 0,
  }
}

/** One finished attempt, for the ledger. */
export interface Entry {
  /** Null for a key that is no longer configured. */
  readonly keyId: KeyId | null
  /** Null, like `clientId`, for a lease that a restart forgot: only its key is counted. */
  readonly model: ModelId | null
  readonly clientId: ClientId | null
  readonly groupId?: GroupId | null
  readonly outcome: Outcome
  readonly fault: Fault | undefined
  readonly usage: Usage | undefined
}

/** Books one finished attempt under its key, model, client and group. */
export function book(ledger: Ledger, entry: Entry, nowMs: number): void {
  add(asOfToday(ledger.all, nowMs), entry)
  if (entry.keyId !== null) add(tallyOf(ledger.byKey, entry.keyId, nowMs), entry)
  if (entry.model !== null) {
    add(tallyOf(ledger.byModel, placeOf(ledger, entry, nowMs), nowMs), entry)
  }
  if (entry.clientId !== null) add(tallyOf(ledger.byClient, entry.clientId, nowMs), entry)
  if (entry.groupId) add(tallyOf(ledger.byGroup, entry.groupId, nowMs), entry)
}

/**
 * Where an attempt's model is counted. When there are too many models, one that has answered takes the
 * place of one that never has: names that a caller invented do not answer.
 */
function placeOf({ byModel }: Ledger, { model, outcome }: Entry, nowMs: number): string {
  if (model === null || byModel.has(model)) return model ?? OTHER_MODELS
  if (byModel.size < MAX_MODELS) return model
  const silent = outcome === 'success' ? firstSilent(byModel) : undefined
  if (silent === undefined) return OTHER_MODELS
  const [name, tally] = silent
  byModel.delete(name)
  const others = byModel.get(OTHER_MODELS)
  if (others === undefined) byModel.set(OTHER_MODELS, tally)
  else addTally(asOfToday(others, nowMs), asOfToday(tally, nowMs))
  return model
}

function firstSilent(byModel: Ledger['byModel']): [string, Tally] | undefined {
  for (const entry of byModel) {
    if (entry[0] !== OTHER_MODELS && entry[1].total.successes === 0) return entry
  }
  return undefined
}

/** Adds what was counted in one place to another, both as of the same day. */
function addTally(into: Tally, from: Tally): void {
  addCounters(into.total, from.total)
  addCounters(into.today, from.today)
  into.weekUsd += from.weekUsd
  into.monthUsd += from.monthUsd
}

/** Adds counters to others. @param times -1 takes them away */
export function addCounters(into: Counters, from: Counters, times: 1 | -1 = 1): void {
  const { faults, ...numbers } = from
  for (const [name, value] of Object.entries(numbers)) {
    into[name as keyof typeof numbers] += times * value
  }
  for (const [fault, count] of Object.entries(faults) as [Fault, number][]) {
    into.faults[fault] = (into.faults[fault] ?? 0) + times * count
  }
}

/** The tally of an id. It is created once, and every later call returns the same object. */
export function tallyOf<Id>(tallies: Map<Id, Tally>, id: Id, nowMs: number): Tally {
  const known = tallies.get(id)
  if (known !== undefined) return asOfToday(known, nowMs)
  const tally = createTally(dayOf(nowMs))
  tallies.set(id, tally)
  return tally
}

/** A key may be away for a month of its spending, and some days. */
const KEEP_DAYS = 35

/** For so long a key may be away. */
export const KEEP_MS = KEEP_DAYS * DAY_MS

/** Whether a tally that nothing adds to any more is so old that it may be dropped; null for none. */
export function isForgettable(tally: Tally | null, nowMs: number): boolean {
  return tally !== null && tally.day <= dayOf(nowMs) - KEEP_DAYS
}

/** A tally with the counters of today. Those of the day before are gone with this. */
export function asOfToday(tally: Tally, nowMs: number): Tally {
  const day = dayOf(nowMs)
  if (tally.day !== day) {
    const { weekUsd, monthUsd } = spendingOf(tally, nowMs)
    Object.assign(tally, { day, today: createCounters(), weekUsd, monthUsd })
  }
  return tally
}

function count(counters: Counters, entry: Entry): void {
  counters.attempts += 1
  if (entry.outcome === 'success') counters.successes += 1
  else if (entry.outcome === 'failure') counters.failures += 1
  else counters.ignored += 1
  if (entry.fault) counters.faults[entry.fault] = (counters.faults[entry.fault] ?? 0) + 1
  if (entry.usage) addUsage(counters, entry.usage)
}

function add(tally: Tally, entry: Entry): void {
  count(tally.total, entry)
  count(tally.today, entry)
  tally.weekUsd += entry.usage?.costUsd ?? 0
  tally.monthUsd += entry.usage?.costUsd ?? 0
}

function addUsage(counters: Counters, usage: Usage): void {
  counters.promptTokens += usage.promptTokens
  counters.completionTokens += usage.completionTokens
  counters.cachedTokens += usage.cachedTokens
  counters.reasoningTokens += usage.reasoningTokens
  counters.costUsd += usage.costUsd
  if (!isEstimate(usage)) return
  counters.estimated += 1
  counters.estimatedUsd += usage.costUsd
  counters.estimatedPromptTokens += usage.promptTokens
  counters.estimatedCompletionTokens += usage.completionTokens
}

/** Whether a usage is an estimate of something. */
export function isEstimate({ estimated, promptTokens, completionTokens }: Usage): boolean {
  return estimated && promptTokens + completionTokens > 0
}

/** An estimate, where and when it was booked. */
export interface BookedEstimate extends Pick<Entry, 'keyId' | 'model' | 'clientId' | 'groupId'> {
  readonly bookedAtMs: number
  /** Null if nothing was counted. */
  readonly booked: Usage | null
}

/**
 * Puts what an answer has really used in the place of its estimate: in the totals, and in the day, the
 * week and the month if these are still those in which it was booked.
 */
export function correct(
  ledger: Ledger,
  estimate: BookedEstimate,
  actual: Usage,
  nowMs: number,
): void {
  const { keyId, model, clientId, groupId } = estimate
  const tallies = [
    ledger.all,
    keyId === null ? undefined : ledger.byKey.get(keyId),
    model === null ? undefined : (ledger.byModel.get(model) ?? ledger.byModel.get(OTHER_MODELS)),
    clientId === null ? undefined : ledger.byClient.get(clientId),
    groupId ? ledger.byGroup.get(groupId) : undefined,
  ]
  for (const tally of tallies) {
    if (tally !== undefined) correctTally(asOfToday(tally, nowMs), estimate, actual)
  }
}

function correctTally(tally: Tally, { booked, bookedAtMs }: BookedEstimate, actual: Usage): void {
  const day = dayOf(bookedAtMs)
  const differenceUsd = actual.costUsd - (booked?.costUsd ?? 0)
  replaceUsage(tally.total, booked, actual)
  if (tally.day === day) replaceUsage(tally.today, booked, actual)
  if (weekOf(tally.day) === weekOf(day)) tally.weekUsd = atLeast0(tally.weekUsd + differenceUsd)
  if (monthOf(tally.day) === monthOf(day)) tally.monthUsd = atLeast0(tally.monthUsd + differenceUsd)
}

/** Puts one usage in the place of another. */
export function replaceUsage(counters: Counters, booked: Usage | null, actual: Usage): void {
  for (const name of USAGE_NAMES) {
    counters[name] = atLeast0(counters[name] + actual[name] - (booked?.[name] ?? 0))
  }
  if (booked === null || !isEstimate(booked)) return
  counters.estimated = atLeast0(counters.estimated - 1)
  const left = (counted: number, of: number) =>
    counters.estimated === 0 ? 0 : atLeast0(counted - of)
  counters.estimatedUsd = left(counters.estimatedUsd, booked.costUsd)
  counters.estimatedPromptTokens = left(counters.estimatedPromptTokens, booked.promptTokens)
  counters.estimatedCompletionTokens = left(
    counters.estimatedCompletionTokens,
    booked.completionTokens,
  )
}

const USAGE_NAMES = [
  ...(['promptTokens', 'completionTokens', 'cachedTokens', 'reasoningTokens', 'costUsd'] as const),
] as const

/** Nothing is less: a crash may have lost the estimate that is taken back. */
const atLeast0 = (amount: number) => Math.max(0, amount)
