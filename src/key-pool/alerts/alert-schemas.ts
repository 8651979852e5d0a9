import * as z from 'zod/mini'
import type { ActiveAlert } from '../../balancing/alerts/alert.ts'
import type { Delivery } from '../../balancing/alerts/alert-outbox.ts'
import { ALERT_EVENTS } from '../../balancing/alerts/alert-policy.ts'
import { entries, orElse } from '../or-else.ts'

/** Schemas of what is stored of alerts; see record-schemas.ts for how they are read. */

const moment = z.number()

/** An event that this release does not know costs its alert, or its message. */
const event = z.enum(ALERT_EVENTS)

const facts = orElse(z.catchall(z.object({}), z.nullable(z.union([z.string(), z.number()]))), {})

export const activeAlertSchema: z.ZodMiniType<ActiveAlert> = z.object({
  event,
  subject: z.string(),
  facts,
  sinceMs: moment,
  goneSinceMs: z.nullable(moment),
})

export const deliverySchema: z.ZodMiniType<Delivery> = z.object({
  to: z.string(),
  number: z.int(),
  message: z.object({
    id: z.string(),
    event,
    phase: z.enum(['begin', 'end']),
    atMs: moment,
    alerts: entries(z.object({ subject: z.string(), sinceMs: moment, facts })),
    more: orElse(z.number(), 0),
    missed: orElse(z.number(), 0),
  }),
  tries: orElse(z.number(), 0),
  dueAtMs: orElse(moment, 0),
  takenUntilMs: orElse(moment, 0),
})
