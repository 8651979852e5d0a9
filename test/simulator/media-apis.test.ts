// The special features of the APIs without text answers: vectors, rankings, images, sound.

import { describe, expect, it } from 'vitest'
import { ALPHA, bodyOf, errorOf, eventsOf, serveSimulator } from './served-simulator.ts'
import { REQUESTS, type ShapePath, SOUND } from './shape-requests.ts'

const { ask, control, send } = serveSimulator()

const whole = async (path: ShapePath, body: object = {}) =>
  bodyOf(await ask(path, { ...REQUESTS[path], ...body }))

const streamed = async (path: ShapePath, body: object = {}) =>
  eventsOf(await ask(path, { ...REQUESTS[path], ...body, stream: true }))

describe('/embeddings', () => {
  it('gives the same text the same vector, as numbers or as their bytes', async () => {
    const { data } = await whole('/embeddings', { input: ['a', 'b', 'a'], dimensions: 6 })
    expect(data[0].embedding).toHaveLength(6)
    expect(data[2].embedding).toEqual(data[0].embedding)
    expect(data[1].embedding).not.toEqual(data[0].embedding)
    const coded = await whole('/embeddings', {
      input: 'a',
      dimensions: 6,
      encoding_format: 'base64',
    })
    const bytes = Buffer.from(coded.data[0].embedding, 'base64')
    const floats = new Float32Array(Uint8Array.from(bytes).buffer)
    expect([...floats]).toEqual(data[0].embedding)
  })

  it('answers from the response cache, and images do not', async () => {
    const cached = { 'x-openrouter-cache': 'true' }
    const statuses: (string | null)[] = []
    for (const path of ['/embeddings', '/embeddings', '/images', '/images'] as const) {
      const response = await ask(path, REQUESTS[path], cached)
      await response.text()
      statuses.push(response.headers.get('x-openrouter-cache-status'))
    }
    expect(statuses).toEqual(['MISS', 'HIT', null, null])
  })
})

describe('/rerank', () => {
  it('puts the best first, as many as were asked for, and charges by the search', async () => {
    const { results, usage } = await whole('/rerank', { top_n: 2 })
    expect(results.map((result: { index: number }) => result.index)).toEqual([1, 2])
    expect(usage).toMatchObject({ search_units: 1, cost: 0.001 })
    const documents = Array.from({ length: 101 }, (_, index) => `fox ${index}`)
    expect((await whole('/rerank', { documents })).usage).toMatchObject({ search_units: 2 })
  })
})

describe('/images', () => {
  it('shows previews of a streamed one', async () => {
    const types = (await streamed('/images')).map((event) => event.type)
    const preview = 'image_generation.partial_image'
    expect(types).toEqual([preview, preview, preview, 'image_generation.completed'])
  })
})

describe('sound', () => {
  it('is spoken as frames of MPEG, or as samples', async () => {
    const spoken = await ask('/audio/speech', REQUESTS['/audio/speech'])
    expect(spoken.headers.get('content-type')).toBe('audio/mpeg')
    const bytes = new Uint8Array(await spoken.arrayBuffer())
    expect([bytes[0], bytes[1], bytes.length % 417]).toEqual([0xff, 0xfb, 0])
    const pcm = { ...REQUESTS['/audio/speech'], response_format: 'pcm' }
    expect((await ask('/audio/speech', pcm)).headers.get('content-type')).toBe('audio/pcm')
  })

  it('fails in JSON, even after a 200', async () => {
    const body = { ...REQUESTS['/audio/speech'], model: 'sim/error-in-200' }
    const response = await ask('/audio/speech', body)
    expect([response.status, response.headers.get('content-type')]).toEqual([
      200,
      'application/json',
    ])
    expect((await errorOf(response)).code).toBe(502)
  })

  function form(fields: Readonly<Record<string, string>>, path = '/audio/transcriptions') {
    const body = new FormData()
    for (const [name, value] of Object.entries(fields)) body.set(name, value)
    body.set('file', SOUND, 'sound.wav')
    return send(`/api/v1${path}`, { method: 'POST', headers: ALPHA, body })
  }

  it('is transcribed from a form, by the second', async () => {
    const answered = await form({ model: 'openai/whisper-1', response_format: 'verbose_json' })
    expect(await bodyOf(answered)).toMatchObject({
      text: expect.stringContaining('40000 bytes of sound'),
      duration: 3,
      usage: { seconds: 3, cost: 0.0003 },
    })
    expect((await control.log())[0]).toMatchObject({ model: 'openai/whisper-1', stream: false })
  })

  it('obeys the model of a form, and takes forms nowhere else', async () => {
    expect((await form({ model: 'sim/plain-503' })).status).toBe(503)
    expect((await form({})).status).toBe(400)
    const model = 'openai/gpt-4o-mini'
    expect((await form({ model, prompt: 'hi' }, '/completions')).status).toBe(400)
  })
})
