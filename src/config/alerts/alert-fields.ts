import { closestMatch } from 'leven'
import * as z from 'zod/mini'
import {
  ALERT_EVENTS,
  type AlertEvent,
  type AlertPolicy,
} from '../../balancing/alerts/alert-policy.ts'
import { bounded, listOf, section, shown } from '../fields.ts'

/** Every event, but for its name. */
const ALL = '*'

const event = z
  .string({ error: ({ input }) => `must be an event, given ${shown(input)}` })
  .check((context) => {
    const given = context.value
    if (given === ALL || ALERT_EVENTS.some((name) => name === given)) return
    const nearest = closestMatch(given, [...ALERT_EVENTS], { maxDistance: 5 })
    const hint =
      nearest === undefined
        ? `the events are ${ALERT_EVENTS.join(', ')}, and "*" for all of them`
        : `did you mean "${nearest}"?`
    const message = `is no event, given ${shown(given)}; ${hint}`
    context.issues.push({ code: 'custom', message, input: given })
  })

const DAY_MS = 24 * 60 * 60_000

/** `POLICY.alerts` as an operator writes it. */
export const alertFields = section({
  to: z.optional(
    z.catchall(
      z.object(
        {},
        {
          error: ({ input }) =>
            `must be a table of names of ALERTS, each with a list of events, given ${shown(input)}`,
        },
      ),
      listOf(event, { min: 1, max: ALERT_EVENTS.length }),
    ),
  ),
  interval_s: z._default(bounded(60, 86_400), 300),
  credit_low_share: z._default(bounded(0, 1), 0.1),
  credit_low_hours: z._default(bounded(0, 720), 24),
  usable_keys_below: z._default(bounded(0, 10_000), 0.5),
  key_expires_days: z._default(bounded(1, 90), 7),
  budget_from_percent: z._default(bounded(0, 100), 50),
})

/** `POLICY.alerts`, in the gateway's units. Which addresses there are, `ALERTS` says. */
export interface AlertSettings extends Omit<AlertPolicy, 'to'> {
  /** For each name of `ALERTS` its events; null for all events to all addresses. */
  readonly to: ReadonlyMap<string, readonly string[]> | null
}

export function alertSettings(fields: z.output<typeof alertFields>): AlertSettings {
  return {
    to: fields.to === undefined ? null : new Map(Object.entries(fields.to)),
    intervalMs: fields.interval_s * 1000,
    creditLowShare: fields.credit_low_share,
    creditLowMs: fields.credit_low_hours * 60 * 60_000,
    usableKeysBelow: fields.usable_keys_below,
    keyExpiresMs: fields.key_expires_days * DAY_MS,
    budgetFromPercent: fields.budget_from_percent,
  }
}

/** A name that `ALERTS` does not have, with the nearest that it has. */
export function addressFaults({ to }: AlertSettings, names: readonly string[]): string[] {
  const unknown = [...(to?.keys() ?? [])].filter((name) => !names.includes(name))
  return unknown.map((name) => {
    const nearest = closestMatch(name, [...names], { maxDistance: 3 })
    const hint =
      names.length === 0
        ? 'ALERTS has no addresses'
        : nearest === undefined
          ? `the addresses are ${names.join(', ')}`
          : `did you mean "${nearest}"?`
    return `POLICY.alerts.to.${name.slice(0, 80)}: no address of ALERTS has that name; ${hint}`
  })
}

/** When alerts begin, and which of these addresses each goes to. */
export function alertPolicy(
  { to, ...settings }: AlertSettings,
  names: readonly string[],
): AlertPolicy {
  const isWanted = (name: string, of: AlertEvent) => {
    const events = to === null ? [ALL] : (to.get(name) ?? [])
    return events.includes(ALL) || events.includes(of)
  }
  const addresses = ALERT_EVENTS.map(
    (of) => [of, names.filter((name) => isWanted(name, of))] as const,
  )
  return { ...settings, to: new Map(addresses) }
}
