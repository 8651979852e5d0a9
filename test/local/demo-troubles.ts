import type { SimulatorControl } from '../simulator/client.ts'
import { STREAMED_MODEL } from './demo-request.ts'

/** Something that the simulator does to the gateway, at a stated point of the run. */
export interface Trouble {
  /** When it begins: the share of the run's requests that have been sent by then. */
  readonly after: number
  /** For people. */
  readonly what: string
  readonly begin: (simulator: SimulatorControl) => Promise<unknown>
}

/** The only trouble that no gateway can hide: the client has read a part of the answer already. */
export const CUT_AFTER_OUTPUT = 'cut-mid-stream'

const LIMITED_MS = 2500

/**
 * Each key and account in turn, while the others are well: what the contract promises to hide can
 * then always be hidden. From the fifth on, until the sixth is over, one key of four carries all.
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

/** Pacing of answers, so that a run lasts long enough for its troubles to be watched. */
export const PACING = { ttftMs: 200, tokensPerSecond: 60, jitter: 0.3 } as const
