import { createExecutionContext, runInDurableObject, waitOnExecutionContext } from 'cloudflare:test'
import { env } from 'cloudflare:workers'
import { vi } from 'vitest'
import { createApp } from '../../../src/app.ts'
import { FileList } from '../../../src/batches/files/file-list-object.ts'
import { Batch } from '../../../src/batches/progress/batch-object.ts'
import type { RangeMessage } from '../../../src/batches/progress/range-message.ts'
import type { Ports } from '../../../src/gateway/ports.ts'
import { json, withOwnPool } from '../../http/gateway-driver.ts'
import { START_MS } from '../runs/batch-world.ts'
import { createBucket } from '../runs/bucket-in-memory.ts'

export const TOKEN = 'sy-test-token-0001'

/** What models cost, and that keys have no cap. */
const LISTS: Readonly<Record<string, unknown>> = {
  '/api/v1/models': {
    data: [
      {
        ...{ id: 'vendor/model', context_length: 1000 },
        ...{ top_provider: { max_completion_tokens: 100 } },
        pricing: { prompt: '0.000001', completion: '0.000002' },
      },
    ],
  },
  '/api/v1/embeddings/models': { data: [] },
}

/** The app with the objects of one client and one batch, over the platform's storage. */
export async function inRouteWorld(
  bindings: Readonly<Record<string, unknown>>,
  use: (world: RouteWorld) => Promise<void>,
): Promise<void> {
  worlds += 1
  const stub = env.KEY_POOL.getByName(`files/${worlds}`)
  await runInDurableObject(stub, async (_, state) => {
    const clock = vi.spyOn(Date, 'now')
    const beganMs = performance.now()
    const ahead = { ms: 0 }
    clock.mockImplementation(() => START_MS + ahead.ms + performance.now() - beganMs)
    try {
      await use(new RouteWorld(state, bindings, ahead))
    } finally {
      clock.mockRestore()
      await state.storage.deleteAlarm()
    }
  })
}

let worlds = 0

const ports: Ports = {
  fetch: async (url) => json(LISTS[new URL(url).pathname] ?? { data: { limit: null, usage: 0 } }),
  nowMs: () => Date.now(),
  random: () => 0.5,
  timer(ms, callback) {
    const id = setTimeout(callback, ms)
    return () => clearTimeout(id)
  },
  uniqueId: () => crypto.randomUUID(),
}

export class RouteWorld {
  readonly bucket = createBucket()
  readonly queue: RangeMessage[] = []
  readonly list: FileList
  readonly batch: Batch
  /** Whoever puts a batch on its client's list dies when it is there. */
  diesHalfWay = false
  /** Nobody hears of a list that a batch is over. */
  isListDeaf = false
  readonly #environment: Env
  readonly #ahead: { ms: number }

  constructor(
    state: DurableObjectState,
    bindings: Readonly<Record<string, unknown>>,
    ahead: { ms: number },
  ) {
    this.#ahead = ahead
    const ofBatch = {
      FILES: this.bucket.r2,
      BATCH_LINES: { sendBatch: async () => undefined },
      DEAD_LINES: {},
    }
    const pool = withOwnPool(bindings)
    // Each has its own storage in production. Their tables have different names.
    const BATCHES = { getByName: () => this.batch }
    this.list = new FileList(state, { ...ofBatch, BATCHES } as never)
    const { KEY_POOL } = pool as { KEY_POOL: object }
    const FILE_LISTS = { getByName: () => this.#listed() }
    this.batch = new Batch(state, { ...ofBatch, KEY_POOL, FILE_LISTS } as never)
    this.#environment = { ...{ ...env, ...pool, ...ofBatch }, FILE_LISTS, BATCHES } as never
  }

  /** The list, as others reach it. */
  #listed(): FileList {
    return new Proxy(this.list, {
      get: (list, name: keyof FileList) => {
        const method = (...given: never[]) => {
          if (name === 'setOver' && this.isListDeaf) throw new Error('The list does not answer')
          const value = (list[name] as (...all: never[]) => unknown)(...given)
          if (name === 'addBatch' && this.diesHalfWay) throw new Error('The Worker has died')
          return value
        }
        return method
      },
    })
  }

  /** Lets time pass. */
  later(ms: number): void {
    this.#ahead.ms += ms
  }

  async send(path: string, init: RequestInit = {}) {
    const context = createExecutionContext()
    const headers = new Headers(init.headers)
    headers.set('authorization', `Bearer ${TOKEN}`)
    const request = new Request(`https://gateway.example/v1/${path}`, { ...init, headers })
    const response = await app.fetch(request, this.#environment, context)
    const body: Record<string, never> = await response.json()
    await waitOnExecutionContext(context)
    return { status: response.status, body }
  }

  async upload(text: string, name = 'lines.jsonl') {
    const form = new FormData()
    form.set('purpose', 'batch')
    form.set('file', new File([text], name))
    return await this.send('files', { method: 'POST', body: form })
  }

  async start(fields: object) {
    const standard = { endpoint: '/v1/chat/completions', completion_window: '24h' }
    const body = JSON.stringify({ ...standard, ...fields })
    const headers = { 'content-type': 'application/json' }
    return await this.send('batches', { method: 'POST', headers, body })
  }
}

const app = createApp(ports)

/** One request of a file. */
export const line = (id: string, body: object = {}) =>
  JSON.stringify({
    ...{ custom_id: id, method: 'POST', url: '/v1/chat/completions' },
    body: { model: 'vendor/model', messages: [{ role: 'user', content: 'Hi' }], ...body },
  })
