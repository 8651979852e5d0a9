import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  type AlertMessage,
  noteDelivery,
  takeAlertDuties,
  tell,
} from '../../../src/balancing/alerts/alert-outbox.ts'
import { createAlerts, followCauses } from '../../../src/balancing/alerts/alerts.ts'
import { seededRandom } from '../seeded-random.ts'
import { type Rows, restored, store, TO_OPS } from './stored-alerts.ts'

const HOUR = 3_600_000

/** What happens to three causes, step by step: which are there, and whether the object restarts then. */
const HISTORY = fc.array(
  fc.record({
    there: fc.subarray(['x', 'y', 'z']),
    afterMs: fc.integer({ min: 0, max: 200_000 }),
    restarts: fc.boolean(),
    /** Whether a Worker asks for messages, and what becomes of them. */
    delivery: fc.constantFrom<Delivering[]>('none', 'delivered', 'failed', 'lost'),
  }),
  { maxLength: 60 },
)

const INTERVAL_MS = 300_000
type Delivering = 'none' | 'delivered' | 'failed' | 'lost'

/** Alerts whose causes a test chooses, with their rows, and a receiver. */
class AlertHistory {
  readonly told: string[] = []
  readonly heard: string[] = []
  readonly rows: Rows = { active: new Map(), messages: new Map() }
  #alerts = createAlerts()
  #nowMs = 1_000_000
  readonly #lastThere = new Map<string, number>()
  readonly #ids = new Set<string>()
  /** Two lives of the object in one millisecond number their messages alike: only chance tells them apart. */
  readonly #random = seededRandom(1)

  step(there: readonly string[], afterMs: number, delivering: Delivering): void {
    this.#nowMs += afterMs
    const moment = this.#moment()
    const causes = there.map((subject) => {
      return { event: 'breaker_open', subject, facts: {} } as const
    })
    const changes = followCauses(this.#alerts, causes, INTERVAL_MS, this.#nowMs)
    tell(this.#alerts.outbox, { to: TO_OPS }, changes, moment)
    for (const { phase, alert } of changes) {
      this.told.push(`${phase} ${alert.subject}`)
      const goneMs = this.#nowMs - (this.#lastThere.get(alert.subject) ?? 0)
      expect(phase === 'begin' ? there.includes(alert.subject) : goneMs >= INTERVAL_MS).toBe(true)
    }
    for (const subject of there) this.#lastThere.set(subject, this.#nowMs)
    store(this.rows, this.#alerts)
    if (delivering !== 'none') this.#deliver(delivering)
    store(this.rows, this.#alerts)
  }

  restart(): void {
    this.#alerts = restored(this.rows)
  }

  #moment() {
    return { nowMs: this.#nowMs, random: this.#random }
  }

  /** A Worker sends messages, up to the first that fails or of which its report is lost. */
  #deliver(how: Exclude<Delivering, 'none'>): void {
    const duties = takeAlertDuties(this.#alerts.outbox, 2, this.#nowMs)
    for (const { to, messages } of duties) {
      const sent = how === 'delivered' ? messages : messages.slice(0, 1)
      for (const message of sent) {
        if (how !== 'failed') this.#hear(message)
        if (how === 'lost') continue
        const report = { to, id: message.id, kind: how, status: 200 }
        noteDelivery(this.#alerts.outbox, report, this.#moment())
      }
    }
  }

  /** A receiver drops a twin by its id. */
  #hear({ id, phase, alerts }: AlertMessage): void {
    if (this.#ids.has(id)) return
    this.#ids.add(id)
    this.heard.push(...alerts.map(({ subject }) => `${phase} ${subject}`))
  }
}

describe('any history', () => {
  it('begins and ends each alert in turn, and an address hears just that, in order', () => {
    fc.assert(
      fc.property(HISTORY, (steps) => {
        const history = new AlertHistory()
        for (const { there, afterMs, restarts, delivery } of steps) {
          history.step(there, afterMs, delivery)
          if (restarts) history.restart()
        }
        // In the end all causes are gone, and the receiver is up.
        for (let i = 0; i < 200; i++) history.step([], 3 * HOUR, 'delivered')
        const { told, heard, rows } = history
        for (const subject of ['x', 'y', 'z']) {
          const of = (lines: readonly string[]) => lines.filter((line) => line.endsWith(subject))
          const phases = of(told).map((line) => line.split(' ')[0])
          expect(phases).toEqual(phases.map((_, at) => (at % 2 === 0 ? 'begin' : 'end')))
          expect(phases.length % 2).toBe(0)
          expect(of(heard)).toEqual(of(told))
        }
        expect(rows.active.size + rows.messages.size).toBe(0)
      }),
      {
        numRuns: 150,
        examples: [
          [
            [
              { there: ['y'], afterMs: 0, restarts: true, delivery: 'delivered' },
              { there: ['z'], afterMs: 0, restarts: false, delivery: 'none' },
            ],
          ],
        ],
      },
    )
  })
})
