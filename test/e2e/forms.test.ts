// Audio that is sent as a form: the gateway reads one field of the form and changes nothing.

import { createHash } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { SOUND } from '../simulator/shape-requests.ts'
import { errorOf, journeyOf, useGateway, useSimulator } from './harness.ts'

const upstream = useSimulator()
const gateway = useGateway(upstream, {
  policy: {
    strategy: 'priority',
    max_body_bytes: 100_000,
    aliases: { dictation: 'openai/whisper-1' },
    breaker: { failures: 100 },
  },
})

const BOUNDARY = '----switchyard-7f3a'
const TYPE = `multipart/form-data; boundary=${BOUNDARY}`

/** One part of a form, with header spelling and spacing that a client may choose. */
function part(name: string, value: string | Buffer, extra = ''): Buffer {
  const head = `--${BOUNDARY}\r\ncontent-Disposition:form-data; name="${name}"${extra}\r\n\r\n`
  return Buffer.concat([Buffer.from(head), Buffer.from(value), Buffer.from('\r\n')])
}

const sound = Buffer.from(Array.from({ length: 40_000 }, (_, i) => (i * 7) % 256))
const SOUND_PART = part('file', sound, '; filename="sound.wav"\r\nContent-Type: audio/wav')
const END = Buffer.from(`--${BOUNDARY}--\r\n`)

const formOf = (...parts: Buffer[]) => Buffer.concat([...parts, END])

async function transcribe(body: Buffer | FormData, headers: Record<string, string> = {}) {
  const type = body instanceof FormData ? {} : { 'content-type': TYPE }
  return await gateway().send('/api/v1/audio/transcriptions', {
    method: 'POST',
    headers: { ...type, ...headers },
    body,
  })
}

async function received() {
  const log = await upstream.control.log()
  return log.filter(({ path }) => path === '/audio/transcriptions')
}

const sha256 = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex')

describe('a form', () => {
  test('that a client’s own FormData makes is answered', async () => {
    const form = new FormData()
    form.set('file', SOUND, 'sound.wav')
    form.set('model', 'openai/whisper-1')
    const response = await transcribe(form)
    expect(response.status).toBe(200)
    expect(await response.json()).toMatchObject({ text: expect.any(String) })
  })

  test.each([
    ['before the sound', [part('model', 'openai/whisper-1'), SOUND_PART]],
    ['after the sound', [SOUND_PART, part('language', 'de'), part('model', 'openai/whisper-1')]],
  ])('with the model %s arrives byte for byte', async (_, parts) => {
    const body = formOf(...parts)
    const response = await transcribe(body)
    expect(response.status).toBe(200)
    const [entry] = await received()
    expect(entry?.body).toMatchObject({ sha256: sha256(body), bytes: body.length })
    expect(entry?.headers['content-type']).toBe(TYPE)
    expect(entry?.model).toBe('openai/whisper-1')
  })

  test('with an alias arrives with another model, and not another byte changed', async () => {
    const parts = (model: string) => formOf(SOUND_PART, part('model', model), part('x', ' y '))
    const response = await transcribe(parts('dictation'))
    expect(response.status).toBe(200)
    expect(response.headers.get('x-switchyard-model')).toBe('openai/whisper-1')
    const [entry] = await received()
    expect(entry?.body.sha256).toBe(sha256(parts('openai/whisper-1')))
  })

  test('that one key can’t be used for goes to another, whole', async () => {
    const body = formOf(part('model', 'sim/401@alpha'), SOUND_PART)
    const response = await transcribe(body)
    expect(journeyOf(response)).toEqual({ key: 'gamma', attempts: 2 })
    expect((await received()).map((entry) => entry.body.sha256)).toEqual([
      sha256(body),
      sha256(body),
    ])
  })

  test.each([
    ['without a model', formOf(SOUND_PART), /model/],
    ['whose model is a file', formOf(part('model', 'x', '; filename="x"'), SOUND_PART), /model/],
    ['that never ends', Buffer.concat([part('model', 'openai/whisper-1')]), /form/i],
    ['that is none', Buffer.from('{"model":"openai/whisper-1"}'), /form/i],
  ])('%s is refused and goes nowhere', async (_, body, message) => {
    const response = await transcribe(body)
    expect(response.status).toBe(400)
    expect((await errorOf(response)).message).toMatch(message)
    expect(await received()).toEqual([])
  })

  test('that is larger than max_body_bytes is refused', async () => {
    const large = part('file', Buffer.alloc(100_001), '; filename="sound.wav"')
    const response = await transcribe(formOf(part('model', 'openai/whisper-1'), large))
    expect(response.status).toBe(413)
    expect(await received()).toEqual([])
  })
})
