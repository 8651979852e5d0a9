import type { ActiveAlert, AlertFacts } from '../../balancing/alerts/alert.ts'
import type { Delivery, DeliveryNote } from '../../balancing/alerts/alert-outbox.ts'

/** What an operator asks about alerts, or has done: a test goes into the audit. Or what a batch came to. */
export type AlertsRequest =
  | { readonly kind: 'list' }
  | { readonly kind: 'tested'; readonly to: string; readonly by: string }
  | { readonly kind: 'batch_ended'; readonly subject: string; readonly facts: AlertFacts }

export interface AlertsReply {
  readonly version: 1
  readonly active: readonly ActiveAlert[]
  /** What is not delivered yet, the oldest first for each address. */
  readonly queued: readonly Delivery[]
  /** The latest reports, the newest first. In memory only. */
  readonly latest: readonly DeliveryNote[]
  /** The addresses that want no more (410), and until when each is left alone. Objects before had none. */
  readonly gone?: readonly { readonly to: string; readonly untilMs: number }[]
}

/** The object hands out no more messages for an address at once, whatever a Worker says. */
export const MAX_ALERTS = 20
/** A request's Worker has half a minute after its answer, and each message may take some seconds. */
export const ALERTS_PER_STEP = 4
