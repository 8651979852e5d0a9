import { ANYWHERE, type PoolPlace } from '../config/pool-place.ts'
import { type Ports, withinTime } from '../gateway/ports.ts'
import type { PoolClient } from '../key-pool/pool-client.ts'
import { objectLabel } from '../key-pool/pool-stub.ts'
import type { DegradedPool } from './alerts/degraded-pool.ts'
import { KV_TIMEOUT_MS } from './kv-credit-cache.ts'

/** What an isolate knows of the pool's object without asking it. */
export interface PoolSight {
  /** The number of usable keys that the object last told, or null if that is too long ago. */
  usableKeys(): number | null
  noteUsableKeys(count: number): void
  /**
   * Whether an inference request has called the object. The first call to an object decides for ever
   * where it lives, so nothing else may be the first: no monitor and no timer.
   */
  isPlaced(): Promise<boolean>
  /** Notes that an inference request has called the object. Null if that is noted already. */
  notePlaced(): Promise<void> | null
}

/** The object counts once a second, so what `/healthz` shows is 5 seconds old at most. */
const COPY_MS = 4_000

const READ_AGAIN_MS = 60_000

export function createPoolSight(
  kv: KVNamespace,
  ports: Pick<Ports, 'nowMs' | 'timer'>,
  place: PoolPlace = ANYWHERE,
): PoolSight {
  const { nowMs } = ports
  // The name in KV. No key's id has a slash, so it is no entry of a key.
  const mark = `placed/${objectLabel(place)}`
  let copy = { count: 0, atMs: Number.NEGATIVE_INFINITY }
  let isPlaced = false
  let isNoted = false
  let readAtMs = Number.NEGATIVE_INFINITY

  const read = async () => {
    readAtMs = nowMs()
    const found = await withinTime(
      ports,
      KV_TIMEOUT_MS,
      kv.get(mark, 'json').catch(() => null),
    )
    isPlaced ||= found !== null
    return isPlaced
  }
  const write = async () => {
    if (await read()) return
    isPlaced = true
    const put = kv.put(mark, 'true').catch(() => {
      // The next request of this isolate tries again.
      isNoted = false
    })
    await withinTime(ports, KV_TIMEOUT_MS, put)
  }
  return {
    usableKeys: () => (nowMs() - copy.atMs <= COPY_MS ? copy.count : null),
    noteUsableKeys(count) {
      copy = { count, atMs: nowMs() }
    },
    async isPlaced() {
      if (isPlaced || nowMs() - readAtMs < READ_AGAIN_MS) return isPlaced
      return await read()
    },
    notePlaced() {
      if (isNoted) return null
      isNoted = true
      return write()
    },
  }
}

/** The pool's client for an inference request: the isolate takes note of what the object tells. */
export function watched(
  pool: PoolClient,
  { sight, degraded }: { readonly sight: PoolSight; readonly degraded: DegradedPool },
  background: (work: Promise<unknown>) => void,
): PoolClient {
  return {
    ...pool,
    async exchange(request) {
      const answer = await pool.exchange(request)
      const telling = degraded.note(answer.kind === 'answer')
      if (telling !== null) background(telling)
      if (answer.kind === 'unavailable') return answer
      const { usableKeys } = answer.value
      if (usableKeys !== undefined) sight.noteUsableKeys(usableKeys)
      const noting = sight.notePlaced()
      if (noting !== null) background(noting)
      return answer
    },
  }
}
