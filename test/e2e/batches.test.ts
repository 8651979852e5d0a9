import OpenAI, { toFile } from 'openai'
import { describe, expect, test } from 'vitest'
import { TOKEN, useGateway, useSimulator } from './harness.ts'

const upstream = useSimulator()
const gateway = useGateway(upstream, { batches: true })

const chatLine = (id: string, model = 'openai/gpt-4o-mini') => ({
  custom_id: id,
  method: 'POST',
  url: '/v1/chat/completions',
  body: { model, max_tokens: 5, messages: [{ role: 'user', content: `Hi ${id}` }] },
})

test('first', async () => {
  const client = gateway().client()
  await upstream.control.patchSettings({ tokensPerSecond: null })
  const text = Array.from({ length: 60 }, (_, i) => JSON.stringify(chatLine(`c${i}`))).join('\n')
  const file = await client.files.create({
    purpose: 'batch',
    file: await toFile(Buffer.from(text), 'a.jsonl'),
  })
  console.log(file)
  let batch = await client.batches.create({
    input_file_id: file.id,
    endpoint: '/v1/chat/completions',
    completion_window: '24h',
  })
  const t0 = Date.now()
  while (!['completed', 'failed'].includes(batch.status) && Date.now() - t0 < 25000) {
    await new Promise((r) => setTimeout(r, 100))
    batch = await client.batches.retrieve(batch.id)
  }
  console.log(Date.now() - t0, batch)
  console.log(
    gateway()
      .logs()
      .filter((l) => !l.text.includes('GET'))
      .slice(0, 8),
  )
  const out = await (await client.files.content(batch.output_file_id!)).text()
  console.log(out.slice(0, 1200), out.split('\n').length)
  expect(batch.status).toBe('completed')
})
