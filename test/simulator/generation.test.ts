import { describe, expect, it } from 'vitest'
import { ALPHA, BETA, bodyOf, errorOf, GAMMA, serveSimulator } from './served-simulator.ts'
import { REQUESTS } from './shape-requests.ts'

const { ask, control, get } = serveSimulator()

describe('GET /generation', () => {
  async function answeredId(body = {}) {
    const response = await ask('/messages', { ...REQUESTS['/messages'], ...body })
    await response.text()
    return response.headers.get('x-generation-id') ?? ''
  }
  const look = (id: string, headers: Record<string, string> = ALPHA, part = '') =>
    get(`/api/v1/generation${part}?id=${id}`, headers)

  it('finds it with any key of the account, and with no other', async () => {
    const id = await answeredId()
    for (const part of ['', '/content']) {
      expect((await look(id, ALPHA, part)).status).toBe(200)
      expect((await look(id, BETA, part)).status).toBe(200)
      const other = await look(id, GAMMA, part)
      expect(other.status).toBe(404)
      expect((await errorOf(other)).code).toBe(404)
      expect((await look('gen-unknown', ALPHA, part)).status).toBe(404)
      expect((await look(id, {}, part)).status).toBe(401)
    }
    expect((await get('/api/v1/generation', ALPHA)).status).toBe(400)
  })

  it('has what was asked and answered', async () => {
    const { data } = await bodyOf(await look(await answeredId(), ALPHA, '/content'))
    expect(data.input.messages).toEqual(REQUESTS['/messages'].messages)
    expect(data.output.completion).toContain('Wie geht’s?')
  })

  it('can take a while to know of it', async () => {
    const nowMs = Date.UTC(2026, 9, 15)
    await control.patchSettings({ nowMs, generationAfterMs: 500 })
    const id = await answeredId()
    expect((await look(id)).status).toBe(404)
    await control.patchSettings({ nowMs: nowMs + 500 })
    expect((await look(id)).status).toBe(200)
  })

  it('knows of streams that failed, and that nothing was charged for them', async () => {
    const body = { model: 'sim/error-mid-stream', stream: true }
    const { data } = await bodyOf(await look(await answeredId(body)))
    expect(data).toMatchObject({ streamed: true, total_cost: 0, finish_reason: 'error' })
  })
})
