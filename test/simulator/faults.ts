import type { ErrorAnswer, ErrorContext } from './errors.ts'
import { RAW_FAULTS } from './raw-faults.ts'
import type { Reply } from './reply.ts'
import { STATUS_FAULTS } from './status-faults.ts'
import { STREAM_FAULTS } from './stream-faults.ts'

/** Faults of the connection itself, and `ok`, which means no fault. */
const CONNECTION_FAULTS = ['ok', 'hang', 'slow-headers', 'cut-before-headers'] as const

/** The names of all faults, for a rule, an outage or the model `sim/<name>`. */
export const FAULT_NAMES: readonly string[] = [
  ...CONNECTION_FAULTS,
  ...Object.keys(STATUS_FAULTS),
  ...Object.keys(RAW_FAULTS),
  ...Object.keys(STREAM_FAULTS),
]

/** The input of a fault. */
export interface Struck {
  readonly errors: ErrorContext
  /** Makes the reply without the fault. Call it at most once, since it counts towards limits. */
  readonly proceed: () => Reply
  /** Writes an error in the API's own shape. */
  readonly worded: (answer: ErrorAnswer, label: string) => Reply
}

/**
 * The reply to a request that a fault strikes. A fault of a stream changes a model's answer. If the
 * request would not get one, it gets the same reply as without the fault.
 */
export function strike(name: string, struck: Struck): Reply {
  const { errors, proceed, worded } = struck
  const status = STATUS_FAULTS[name]
  if (status !== undefined) return worded(status(errors), name)
  const raw = RAW_FAULTS[name]
  if (raw !== undefined) return { kind: 'whole', ...raw, error: name }
  const stream = STREAM_FAULTS[name]
  if (stream === undefined) return connectionFault(name, struck)
  const played = proceed()
  if (played.kind !== 'played' || played.scene === null) return played
  return stream({ ...played, error: name }, played.scene, errors.params)
}

function connectionFault(name: string, { errors, proceed }: Struck): Reply {
  switch (name) {
    case 'hang':
      return { kind: 'hang', error: name }
    case 'cut-before-headers':
      return { kind: 'cut', error: name }
    case 'slow-headers':
      return { kind: 'late', ms: errors.params.ms ?? 3000, after: proceed() }
    default:
      return proceed()
  }
}
