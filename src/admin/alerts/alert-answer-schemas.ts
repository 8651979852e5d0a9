import * as z from 'zod/mini'
import { ALERT_EVENTS } from '../../balancing/alerts/alert-policy.ts'
import { ALERT_FORMATS } from '../../config/alerts/alert-addresses.ts'
import { ADDRESS_STATES } from '../address-standing.ts'

/** What the admin API gives of alerts. As in answer-schemas.ts, only types of it are bundled. */

const event = z.enum(ALERT_EVENTS)
const phase = z.enum(['begin', 'end'])
const status = z.nullable(z.number())

export const activeAlertAnswer = z.object({
  event,
  subject: z.string(),
  began_at: z.string(),
  /** Since when its cause is gone; null while it is there. */
  gone_since: z.nullable(z.string()),
  facts: z.record(z.string(), z.union([z.string(), z.number(), z.null()])),
})

export const alertsAnswer = z.object({
  active: z.array(activeAlertAnswer),
  undelivered: z.array(
    z.object({
      to: z.string(),
      id: z.string(),
      event,
      phase,
      at: z.string(),
      subjects: z.array(z.string()),
      more: z.number(),
      tries: z.number(),
      next_try_at: z.nullable(z.string()),
    }),
  ),
  latest: z.array(
    z.object({
      to: z.string(),
      id: z.string(),
      event,
      phase,
      at: z.string(),
      outcome: z.enum(['delivered', 'failed', 'gone']),
      status,
    }),
  ),
  addresses: z.array(
    z.object({
      name: z.string(),
      format: z.enum(ALERT_FORMATS),
      events: z.array(event),
      /** Whether it is told: `gone` after a 410, `silent` where no event goes to it. */
      state: z.enum(ADDRESS_STATES),
      waiting: z.number(),
      /** Since when the oldest message waits. */
      since: z.nullable(z.string()),
      /** Until when an address that is gone is left alone. */
      until: z.nullable(z.string()),
    }),
  ),
})

export const alertTestAnswer = z.object({ name: z.string(), delivered: z.boolean(), status })

export type AlertsAnswer = z.output<typeof alertsAnswer>
export type AlertTestAnswer = z.output<typeof alertTestAnswer>
