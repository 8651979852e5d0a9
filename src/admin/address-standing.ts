import { ALERT_EVENTS, type AlertEvent } from '../balancing/alerts/alert-policy.ts'
import { alertPolicy } from '../config/alerts/alert-fields.ts'
import type { Config } from '../config/config.ts'
import type { AlertsReply } from '../key-pool/alerts/alert-protocol.ts'

/**
 * Whether an address is told of alerts. `failing`: its last message could not be delivered. `gone`: it
 * has said 410, and is left alone for a day. `silent`: no event goes there.
 */
export const ADDRESS_STATES = ['well', 'failing', 'gone', 'silent'] as const

export interface AddressStanding {
  readonly name: string
  readonly format: Config['alertAddresses'][number]['format']
  readonly events: readonly AlertEvent[]
  readonly state: (typeof ADDRESS_STATES)[number]
  /** The number of messages that it is yet to get. */
  readonly waiting: number
  /** Since when the oldest of them waits; null if none does. */
  readonly sinceMs: number | null
  /** Until when it is left alone; null if it is not. */
  readonly untilMs: number | null
}

/** The addresses of `ALERTS` by their names, as they stand. The rest of them is secret. */
export function addressStandings(
  { policy, alertAddresses }: Config,
  { queued, gone = [] }: Pick<AlertsReply, 'queued' | 'gone'>,
): readonly AddressStanding[] {
  const names = alertAddresses.map(({ name }) => name)
  const { to } = alertPolicy(policy.alerts, names)
  return alertAddresses.map(({ name, format }) => {
    const events = ALERT_EVENTS.filter((of) => to.get(of)?.includes(name))
    const messages = queued.filter((delivery) => delivery.to === name)
    const [oldest] = messages
    const untilMs = gone.find((address) => address.to === name)?.untilMs ?? null
    const isFailing = oldest !== undefined && oldest.tries > 0
    return {
      ...{ name, format, events, untilMs },
      state:
        untilMs !== null ? 'gone' : isFailing ? 'failing' : events.length === 0 ? 'silent' : 'well',
      waiting: messages.length,
      sinceMs: oldest?.message.atMs ?? null,
    }
  })
}
