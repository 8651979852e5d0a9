import type { SimulatorControl } from '../simulator/client.ts'
import { STREAMED_MODEL } from './demo-request.ts'

/** A fault that the simulator begins, or ends, at a given point of the run. */
export interface Trouble {
  /** When it begins: the share of the run's requests that have been sent before. */
  readonly after: number
  /** The description for the reader of the demo. */
  readonly what: string
  readonly begin: (simulator: SimulatorControl) => Promise<unknown>
}

/** The only trouble that no gateway can hide: the client has already read a part of the answer. */
export const CUT_AFTER_OUTPUT = 'cut-mid-stream'

const LIMITED_MS = 2500

/**
 * The troubles hit one key or account after the other while at least one key stays well. So the
 * gateway can hide every failure that the contract promises to hide. Between the fifth trouble and
 * the sixth, one key of four serves all requests.
 */
export const TROUBLES: readonly Trouble[] = [
  {
    after: 0.1,
    what: 'cuts 2 streams of beta before their first output',
    begin: (simulator) =>
      simulator.rule({
        fault: 'cut-before-output',
        match: { key: 'beta', model: STREAMED_MODEL },
        times: 2,
      }),
  },
  {
    after: 0.2,
    what: 'cuts 2 streams of gamma after 3 events of output',
    begin: (simulator) =>
      simulator.rule({
        fault: CUT_AFTER_OUTPUT,
        params: { events: 3 },
        match: { key: 'gamma', model: STREAMED_MODEL },
        times: 2,
      }),
  },
  {
    after: 0.35,
    what: `rate-limits the account globex (gamma): 429, reset in ${LIMITED_MS} ms`,
    begin: (simulator) =>
      simulator.rule({
        fault: 'new-account-429',
        params: { resetInMs: LIMITED_MS },
        match: { account: 'globex' },
      }),
  },
  {
    after: 0.45,
    what: 'revokes the key alpha: 401 from now on',
    begin: (simulator) => simulator.patchKey('alpha', { disabled: true }),
  },
  {
    after: 0.55,
    what: 'lets the key delta reach its monthly cap: 403 from now on',
    begin: (simulator) => {
      const spent = { totalUsd: 2, dailyUsd: 2, weeklyUsd: 2, monthlyUsd: 2, atMs: null }
      return simulator.patchKey('delta', { usage: spent })
    },
  },
  {
    after: 0.65,
    what: 'limits the account globex no longer',
    begin: (simulator) => simulator.clearRules(),
  },
]

/** The pacing of answers. With it, a run is slow enough to watch its troubles. */
export const PACING = { ttftMs: 200, tokensPerSecond: 60, jitter: 0.3 } as const
