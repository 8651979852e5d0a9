import * as z from 'zod/mini'
import type { AlertMessage } from '../../balancing/alerts/alert-outbox.ts'
import type { AlertPolicy } from '../../balancing/alerts/alert-policy.ts'
import type { AlertDelivery } from '../../gateway/alerts/alert-delivery.ts'
import { type Ports, withinTime } from '../../gateway/ports.ts'
import { OBJECT_NAME } from '../../key-pool/pool-stub.ts'
import { KV_TIMEOUT_MS } from '../kv-credit-cache.ts'
import { logPoolDegraded } from '../log.ts'

/**
 * The one alert that the pool's object cannot tell of: that it does not answer. The isolate that sees
 * it tells, and leaves a mark in KV, so that others do not; the scheduled handler ends it. KV is slow
 * to agree with itself, so isolates far apart may each tell.
 */
export interface DegradedPool {
  /**
   * Notes how a call of the object ended.
   * @returns what is to be told; null for nothing
   */
  note(isAnswer: boolean): Promise<void> | null
  /** Ends the alert when the object has answered for the interval. Called once a minute. */
  endIfOver(): Promise<void>
}

/** A deployment breaks calls for a moment. An outage lasts. */
const LASTING_MS = 5_000
/** While the outage lasts an isolate looks this often whether somebody has told of it. */
const LOOK_AGAIN_MS = 30_000

const MARK = `alert/pool_degraded/${OBJECT_NAME}`
const KEEP_MARK_S = 24 * 60 * 60

const markSchema = z.object({
  id: z.string(),
  sinceMs: z.number(),
  /** Since when the object answers again, by the scheduled handler. */
  goneSinceMs: z.nullable(z.number()),
})

type Mark = z.output<typeof markSchema>

export interface DegradedPoolParts {
  readonly ports: Pick<Ports, 'nowMs' | 'timer' | 'uniqueId'>
  readonly kv: KVNamespace
  readonly policy: Pick<AlertPolicy, 'to' | 'intervalMs'>
  readonly alerts: AlertDelivery
}

export function createDegradedPool({ ports, kv, policy, alerts }: DegradedPoolParts): DegradedPool {
  const { nowMs } = ports
  const marks = createMarks(ports, kv)
  let failingSinceMs: number | null = null
  let isLogged = false
  let lookAtMs = Number.NEGATIVE_INFINITY
  /** Without KV no mark shows that this isolate has told. */
  let toldUntilMs = Number.NEGATIVE_INFINITY

  /** @returns whether an address has it, or there is none to have it */
  const tell = async (phase: AlertMessage['phase'], mark: Mark): Promise<boolean> => {
    const to = policy.to.get('pool_degraded') ?? []
    const told = [{ subject: 'pool', sinceMs: mark.sinceMs, facts: {} }]
    const common = { event: 'pool_degraded', phase, atMs: nowMs(), more: 0, missed: 0 } as const
    const message = { ...common, id: `msg_${mark.id}_${phase}`, alerts: told }
    const reports = await alerts.deliver(to.map((name) => ({ to: name, messages: [message] })))
    return to.length === 0 || reports.some(({ kind }) => kind === 'delivered')
  }

  const begin = async (sinceMs: number): Promise<void> => {
    const known = await marks.read()
    if (known !== null) {
      if (known.goneSinceMs !== null) await marks.write({ ...known, goneSinceMs: null })
      return
    }
    if (nowMs() < toldUntilMs) return
    const mark = { id: ports.uniqueId(), sinceMs, goneSinceMs: null }
    if (!isLogged) logPoolDegraded('begin', sinceMs)
    isLogged = true
    if (!(await tell('begin', mark))) return
    toldUntilMs = nowMs() + policy.intervalMs
    await marks.write(mark)
  }

  return {
    note(isAnswer) {
      if (isAnswer) {
        failingSinceMs = null
        isLogged = false
        return null
      }
      failingSinceMs ??= nowMs()
      if (nowMs() - failingSinceMs < LASTING_MS || nowMs() < lookAtMs) return null
      lookAtMs = nowMs() + LOOK_AGAIN_MS
      return begin(failingSinceMs)
    },
    async endIfOver() {
      const mark = await marks.read()
      if (mark === null) return
      const goneSinceMs = mark.goneSinceMs ?? nowMs()
      if (nowMs() - goneSinceMs < policy.intervalMs) {
        if (mark.goneSinceMs === null) await marks.write({ ...mark, goneSinceMs })
        return
      }
      if (!(await tell('end', mark))) return
      logPoolDegraded('end', mark.sinceMs)
      await marks.drop()
    },
  }
}

/** The mark in KV. No function rejects: without KV each isolate tells for itself. */
function createMarks(ports: Pick<Ports, 'timer'>, kv: KVNamespace) {
  const within = async <T>(work: Promise<T>) =>
    await withinTime(
      ports,
      KV_TIMEOUT_MS,
      work.catch(() => null),
    )
  return {
    async read(): Promise<Mark | null> {
      const parsed = markSchema.safeParse(await within(kv.get(MARK, 'json')))
      return parsed.success ? parsed.data : null
    },
    async write(mark: Mark): Promise<void> {
      await within(kv.put(MARK, JSON.stringify(mark), { expirationTtl: KEEP_MARK_S }))
    },
    async drop(): Promise<void> {
      await within(kv.delete(MARK))
    },
  }
}
