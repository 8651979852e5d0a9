// These tests run the snippets of the README, and those that `npm start` prints.

import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { describe, expect, test } from 'vitest'
import { DEMO_TOKEN, LOCAL_ADMIN_TOKEN } from '../local/stack.ts'
import { costlyGreeting, simulatedGreeting } from '../local/start-text.ts'
import { useGateway, useSimulator } from './harness.ts'

const root = fileURLToPath(new URL('../..', import.meta.url))
const upstream = useSimulator()
const gateway = useGateway(upstream, {
  secrets: { CLIENT_KEYS: `demo:${DEMO_TOKEN}`, ADMIN_TOKEN: LOCAL_ADMIN_TOKEN },
})

/** The address in the README: the gateway that `npm start` starts. */
const ORIGIN = 'http://localhost:8787'

const [, section = ''] = readFileSync(`${root}README.md`, 'utf8').split('\n## Use it\n')
const [usage = ''] = section.split('\n## ')
const blocks = [...usage.matchAll(/```(\w+)\n(.*?)```/gs)].map(([, language, text]) => ({
  language: language ?? '',
  text: text ?? '',
}))

const written = (language: string, has: (text: string) => boolean = () => true) =>
  blocks.filter((block) => block.language === language && has(block.text)).map(({ text }) => text)

const isExport = (text: string) => text.startsWith('export ')

/** Runs a program and returns its output. Fails if the program exits with an error. */
async function run(command: string, ...args: string[]): Promise<string> {
  const { stdout } = await promisify(execFile)(command, args, { cwd: root, timeout: 20_000 })
  return stdout
}

const here = (text: string) => text.replaceAll(ORIGIN, gateway().origin)

/** Runs a module as if it were in the repository, so that it can import the clients. */
const runModule = (text: string) => run('node', '--input-type=module', '--eval', text)

const nameOf = (text: string) => /from '([^']+)'/.exec(text)?.[1] ?? text.split('\n')[0] ?? ''

test('the README has a snippet for each client, and none that is not run here', () => {
  const clients = written('js').map(nameOf)
  expect(clients).toEqual([
    'openai',
    '@anthropic-ai/sdk',
    '@openrouter/ai-sdk-provider',
    '@openrouter/sdk',
  ])
  expect(written('sh').length).toBeGreaterThanOrEqual(2)
  expect(blocks.every(({ language }) => ['js', 'sh'].includes(language))).toBe(true)
})

describe('a snippet', () => {
  test.each(written('js').map((text) => [nameOf(text), text]))('of %s', async (_, text) => {
    const printed = await runModule(here(text))
    const questions = text.match(/'Hello'/g) ?? []
    expect(printed.match(/You said: Hello/g)).toHaveLength(questions.length)
  })

  test.each(written('sh', (text) => !isExport(text)).map((text) => [nameOf(text), text]))(
    'of the shell: %s',
    async (_, text) => {
      expect(await run('bash', '-c', here(text))).toContain('You said: Hello')
    },
  )

  test('of the environment, which clients read by themselves', async () => {
    const [exports = ''] = written('sh', isExport)
    const program = `
      import Anthropic from '@anthropic-ai/sdk'
      import OpenAI from 'openai'
      const messages = [{ role: 'user', content: 'Hello' }]
      const answers = [
        await new OpenAI().chat.completions.create({ model: 'openai/gpt-4o-mini', messages }),
        await new Anthropic().messages.create({
          model: 'anthropic/claude-sonnet-4.5',
          max_tokens: 100,
          messages,
        }),
      ]
      console.log(JSON.stringify(answers))`
    const script = `${here(exports)}\nexec node --input-type=module --eval "$0"`
    const printed = await run('bash', '-c', script, program)
    expect(printed.match(/You said: Hello/g)).toHaveLength(2)
  })
})

describe('a printed snippet', () => {
  /** The lines from one to another, as somebody would select and paste them. */
  const pasted = (greeting: string, first: string, last: string) => {
    const lines = greeting.split('\n').map((line) => line.replace(/^ {2}/, ''))
    const from = lines.findIndex((line) => line.startsWith(first))
    const to = lines.findIndex((line, i) => i >= from && line.includes(last))
    return lines.slice(from, to + 1).join('\n')
  }

  test('of npm start in front of the simulator prints its answer, and its fault strikes', async () => {
    const tokens = { client: DEMO_TOKEN, admin: LOCAL_ADMIN_TOKEN }
    const greeting = simulatedGreeting(gateway().origin, new URL(upstream.url()).origin, tokens)
    const module = pasted(greeting, 'import OpenAI', 'console.log')
    expect(await runModule(module)).toContain('You said: Hello')
    const curl = pasted(greeting, 'curl', '-iN')
    expect(await run('bash', '-c', curl)).toContain('data: [DONE]')
    const failing = await run('bash', '-c', curl.replace('openai/gpt-4o-mini', 'sim/401@alpha'))
    expect(failing).toContain('HTTP/1.1 200 OK')
    expect(failing).toContain('data: [DONE]')
    const [control = ''] = /http:\S+\/control/.exec(greeting) ?? []
    expect(await (await fetch(control)).json()).toMatchObject({ faults: expect.any(Array) })
    const made = await run(
      'bash',
      '-c',
      pasted(greeting.split('own, with a budget')[1] ?? '', 'curl', '-d '),
    )
    expect(JSON.parse(made)).toMatchObject({ client: { id: 'my-app', rpm: 60 } })
  })

  test('of npm start in front of OpenRouter takes the token from a variable', async () => {
    const env = { CLIENT_KEYS: `demo:${DEMO_TOKEN}`, UPSTREAM_URL: 'https://openrouter.ai/api/v1' }
    const greeting = await costlyGreeting(gateway().origin, env)
    const exported = `export CLIENT_TOKEN=${DEMO_TOKEN}\n`
    const curl = pasted(greeting, 'curl', '-iN')
    expect(await run('bash', '-c', exported + curl)).toContain('data: [DONE]')
    const module = pasted(greeting, 'import OpenAI', 'console.log')
    const script = `${exported}exec node --input-type=module --eval "$0"`
    expect(await run('bash', '-c', script, module)).toContain('You said: Hello')
  })
})
