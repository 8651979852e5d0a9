import type { Bundle, Deployment } from '../processes/deployment.ts'
import type { RunScope } from '../processes/run-scope.ts'
import type { Target } from '../processes/targets.ts'
import type { Upstream } from '../processes/upstream.ts'
import type { Reporter } from '../report/reporter.ts'
import type { Table } from '../report/table.ts'

/** How much time is spent on a figure. */
export interface Effort {
  /** Of every timed measurement; everything that is compared is measured once in each. */
  readonly rounds: number
  readonly slotMs: number
  /** Load before each slot of requests, which is not measured: see `measureSlot`. */
  readonly leadInMs: number
  readonly warmUpMs: number
  /** How often a process is started, to time that. */
  readonly starts: number
  /** At once, for their memory. */
  readonly memoryStreams: number
  /** How long objects' calls and rows are counted. */
  readonly countMs: number
}

export const FULL: Effort = {
  rounds: 8,
  slotMs: 150,
  leadInMs: 150,
  warmUpMs: 2_000,
  starts: 5,
  memoryStreams: 500,
  countMs: 22_000,
}

/** To see that it works. Its figures mean nothing. */
export const QUICK: Effort = {
  rounds: 2,
  slotMs: 100,
  leadInMs: 20,
  warmUpMs: 100,
  starts: 1,
  memoryStreams: 20,
  countMs: 3_000,
}

/** What all parts are given. */
export interface Bench {
  readonly scope: RunScope
  readonly reporter: Reporter
  readonly effort: Effort
  readonly deployment: Deployment
  /** The gateway as it is deployed; made when first asked for. */
  readonly bundle: () => Promise<Bundle>
  readonly upstream: Upstream
  /** Another gateway to be measured too. */
  readonly foreign: Target | null
}

export interface PartResult {
  readonly tables: readonly Table[]
  /** The same figures for programs. */
  readonly data: unknown
}

/** What is measured beside each other, by role. */
export interface Line {
  readonly targets: readonly Target[]
  readonly reference: Target
  /** The reference once more, in a process of its own. */
  readonly again: Target
}

/** Those to be measured in one round, each time beginning with another: the first has it hardest. */
export function inTurn<T>(items: readonly T[], round: number): T[] {
  const start = round % items.length
  return [...items.slice(start), ...items.slice(0, start)]
}
