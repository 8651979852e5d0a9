import type { AlertFacts } from '../../balancing/alerts/alert.ts'
import type { AlertMessage, ToldAlert } from '../../balancing/alerts/alert-outbox.ts'
import type { AlertEvent } from '../../balancing/alerts/alert-policy.ts'

/** An event in words. */
interface Words {
  /** What begins, of the subjects. */
  readonly begins: string
  /** Null for news, which is no alarm and does not end. */
  readonly ends: string | null
  /** What an operator can do. */
  readonly advice: string
  /** What is said of one subject; by default its name alone. */
  readonly subject?: (facts: AlertFacts) => string
}

const until = ({ until }: AlertFacts): string => (until === null ? '' : ` until ${until}`)
const usd = (amount: AlertFacts[string] | undefined): string =>
  typeof amount === 'number' ? `$${amount.toFixed(2)}` : 'an unknown sum'

const WORDS: Readonly<Record<AlertEvent, Words>> = {
  key_rejected: {
    begins: 'OpenRouter rejects',
    ends: 'OpenRouter takes again',
    advice: 'Replace the key, or take it out of the configuration.',
    subject: ({ key }) => `key ${key}`,
  },
  key_spent: {
    begins: 'The limit is spent of',
    ends: 'There is room again for',
    advice: "Raise the key's limit at OpenRouter, or wait for its reset.",
    subject: (facts) => `key ${facts.key}${until(facts)}`,
  },
  key_expires_soon: {
    begins: 'Soon expires',
    ends: 'Does not expire soon any more:',
    advice: 'Make a new key at OpenRouter and replace it.',
    subject: ({ key, expires_at }) => `key ${key} (${expires_at})`,
  },
  credit_low: {
    begins: 'Little credit is left for',
    ends: 'There is enough credit again for',
    advice: "Raise the key's limit, or send less.",
    subject: ({ key, remaining_usd, projected_end }) =>
      `key ${key} (${usd(remaining_usd)} left${projected_end === null ? '' : `, spent by ${projected_end} at this rate`})`,
  },
  account_out_of_credit: {
    begins: 'No credit is left in',
    ends: 'There is credit again in',
    advice: 'Buy credit for the account at OpenRouter.',
    subject: ({ account }) => `account ${account}`,
  },
  breaker_open: {
    begins: 'Requests keep failing with',
    ends: 'Requests succeed again with',
    advice: 'The gateway tries again by itself. If it lasts, see the attempts in the log.',
    subject: ({ key }) => `key ${key}`,
  },
  usable_keys_below: {
    begins: 'Few keys are usable:',
    ends: 'Enough keys are usable again; at the fewest:',
    advice: 'See the other alerts for why.',
    subject: ({ usable, total }) => `${usable} of ${total}`,
  },
  budget_threshold: {
    begins: 'A share of the budget is spent by',
    ends: 'Again below its share of the budget:',
    advice: 'Raise the budget, grant an increase, or let it refuse.',
    subject: ({ owner, period, percent, usd: budget, spent_usd }) =>
      `${owner} (${percent} % of ${usd(budget)} a ${period}: ${usd(spent_usd)})`,
  },
  pool_degraded: {
    begins: "The pool's object cannot be reached",
    ends: "The pool's object answers again",
    advice: 'Requests go on as on_pool_unavailable says. See the status of Cloudflare.',
    subject: () => '',
  },
  unknown_error: {
    begins: 'OpenRouter answers with an error that the gateway has no rule for:',
    ends: 'Not seen any more:',
    advice: 'Look for it in the log. If it lasts, tell the makers of the gateway.',
    subject: ({ error, count }) => `${error}${Number(count) > 1 ? ` (${count} times)` : ''}`,
  },
  batch_ended: {
    begins: 'A batch has ended:',
    ends: null,
    advice: 'Its files are there until they expire.',
    subject: ({ batch, client, status, total, completed, failed, cost_usd }) =>
      `${batch} of ${client} (${status}: ${completed} of ${total} lines completed, ${failed} failed, ${usd(cost_usd)})`,
  },
}

/** Discord takes 2,000 characters. */
const MAX_LENGTH = 1_900

/** A message in plain words, for a person. */
export function alertText({ event, phase, alerts, more, missed }: AlertMessage): string {
  const { begins, ends, advice, subject } = WORDS[event]
  const name = (told: ToldAlert) => subject?.(told.facts) ?? told.subject
  const subjects = alerts.map(name).filter((text) => text !== '')
  const all = more === 0 ? subjects : [...subjects, `${more} more`]
  const list = all.length === 0 ? '' : ` ${all.join(', ')}`
  const alarm = ends === null ? '' : 'ALERT: '
  const said = phase === 'begin' ? `${alarm}${begins}${list}. ${advice}` : `Over: ${ends}${list}.`
  const gap = missed === 0 ? '' : ` (${missed} earlier messages could not be kept.)`
  return `Switchyard: ${said}${gap}`.slice(0, MAX_LENGTH)
}
