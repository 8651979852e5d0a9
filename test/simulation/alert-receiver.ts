import type {
  AlertDuty,
  AlertMessage,
  DeliveryReport,
} from '../../src/balancing/alerts/alert-outbox.ts'
import { ALERT_EVENTS, type AlertPolicy } from '../../src/balancing/alerts/alert-policy.ts'
import { POLICY } from '../balancing/pool-driver.ts'
import type { VirtualTime } from '../gateway/virtual-time.ts'
import type { Draw } from './draw.ts'

/** Where an isolate sends alerts: a receiver that is slow, fails, and answers too late. */
export type DeliverAlerts = (duties: readonly AlertDuty[]) => Promise<readonly DeliveryReport[]>

/** In some histories somebody is told, at one address. In the others no message is ever made. */
export function alertPolicyOf(seed: number): AlertPolicy {
  if (seed % 7 !== 2 && seed % 7 !== 5) return POLICY.alerts
  return { ...POLICY.alerts, to: new Map(ALERT_EVENTS.map((event) => [event, ['ops']] as const)) }
}

/** @param heard sees each message that reaches the receiver, as often as it does */
export function createAlertReceiver(
  time: VirtualTime,
  draw: Draw,
  heard: (message: AlertMessage) => void,
): DeliverAlerts {
  const send = async (to: string, message: AlertMessage): Promise<DeliveryReport> => {
    await new Promise<void>((resolve) => void time.objectTimer(draw.int(5, 3_000), resolve))
    const fails = draw.chance(0.15)
    // One that fails may have been heard: the answer was lost, or came too late.
    if (!fails || draw.chance(0.3)) heard(message)
    const came = fails
      ? ({ kind: 'failed', status: 503 } as const)
      : ({ kind: 'delivered', status: 204 } as const)
    return { to, id: message.id, ...came }
  }
  return async (duties) => {
    const reports: DeliveryReport[] = []
    for (const { to, messages } of duties) {
      for (const message of messages) {
        const report = await send(to, message)
        reports.push(report)
        if (report.kind !== 'delivered') break
      }
    }
    return reports
  }
}
