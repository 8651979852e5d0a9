import { expect, it } from 'vitest'
import { HELLO, said } from './stream-texts.ts'
import { errorAnswer, jsonAnswer, openStream, type Script, streamOf } from './upstream-script.ts'
import { createVirtualWorld, secretOf } from './virtual-world.ts'

const CHAT = 'chat/completions'
const ECHO = { error: { code: 400, message: `Invalid use of ${secretOf('a')}` } }
const ECHO_EVENT = `data: ${JSON.stringify({ error: ECHO.error, choices: [] })}\n\n`

async function told(...scripts: Script[]) {
  const world = createVirtualWorld({ maxAttempts: 1 })
  world.upstream.on(CHAT, ...scripts)
  const sent = world.send()
  await world.finish(sent)
  const { text, headers } = await sent.whole()
  return `${text} ${[...headers].join('\n')}`
}

it.each<[string, Script]>([
  ['in the body of an error', errorAnswer(400, ECHO.error.message)],
  ['in the body of a 200 that holds an error', jsonAnswer(200, ECHO)],
  ['in the first event of a stream', streamOf(ECHO_EVENT)],
  ['in an event after output', streamOf(said('Hi') + ECHO_EVENT)],
  [
    'in an event that comes in two parts after output',
    {
      ...openStream(said('Hi')),
      body: [
        { text: said('Hi') },
        { text: ECHO_EVENT.slice(0, 55), afterMs: 10 },
        { text: ECHO_EVENT.slice(55), afterMs: 10 },
      ],
      end: 'close',
    },
  ],
  [
    'in a header of an error',
    {
      ...errorAnswer(400, 'Bad'),
      headers: { 'content-type': 'application/json', 'x-openrouter-hint': secretOf('a') },
    },
  ],
])('a secret that upstream repeats %s reaches nobody', async (_, script) => {
  const all = await told(script)
  expect(all).not.toContain(secretOf('a'))
})

it('of an error that repeats a secret only that text is another one', async () => {
  const all = await told(jsonAnswer(400, ECHO))
  expect(all).toContain(JSON.stringify({ error: { code: 400, message: 'Invalid use of a' } }))
})

it('an answer is passed on as it came', async () => {
  const text = said(secretOf('a')) + HELLO
  expect(await told(streamOf(text))).toContain(secretOf('a'))
})
