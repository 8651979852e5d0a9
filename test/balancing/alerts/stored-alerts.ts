import type { ActiveAlert } from '../../../src/balancing/alerts/alert.ts'
import {
  type Delivery,
  restoreDeliveries,
  takeDeliveryRecords,
} from '../../../src/balancing/alerts/alert-outbox.ts'
import { ALERT_EVENTS } from '../../../src/balancing/alerts/alert-policy.ts'
import {
  type Alerts,
  createAlerts,
  takeAlertRecords,
} from '../../../src/balancing/alerts/alerts.ts'
import { activeAlertSchema, deliverySchema } from '../../../src/key-pool/alerts/alert-schemas.ts'

/** Everything is told to one address. */
export const TO_OPS = new Map(ALERT_EVENTS.map((event) => [event, ['ops']] as const))

/** The rows of alerts, by id. */
export interface Rows {
  readonly active: Map<string, string>
  readonly messages: Map<string, string>
}

/** What is stored of alerts after a step. */
export function store({ active, messages }: Rows, alerts: Alerts): void {
  const put = (rows: Map<string, string>, id: string, record: object | null) => {
    if (record === null) rows.delete(id)
    else rows.set(id, JSON.stringify(record))
  }
  for (const [id, record] of takeAlertRecords(alerts)) put(active, id, record)
  for (const [id, record] of takeDeliveryRecords(alerts.outbox)) put(messages, id, record)
}

/** What a new object knows of alerts. */
export function restored({ active, messages }: Rows): Alerts {
  const alerts = createAlerts()
  const read = <T>(rows: Map<string, string>, schema: { parse(value: unknown): T }) =>
    [...rows.values()].map((row) => schema.parse(JSON.parse(row)))
  for (const alert of read<ActiveAlert>(active, activeAlertSchema)) {
    alerts.active.set(`${alert.event} ${alert.subject}`, alert)
  }
  restoreDeliveries(alerts.outbox, read<Delivery>(messages, deliverySchema))
  return alerts
}
