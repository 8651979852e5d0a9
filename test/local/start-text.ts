import { readClientKeys } from '../../src/config/client-keys.ts'

/** Said before the start, so that nobody sends a request first. */
export function costWarning(upstreamUrl: unknown): string {
  return `There is a key of OpenRouter in .dev.vars: requests go to ${upstreamUrl} and COST MONEY.\nTo use the simulator instead, take OPENROUTER_KEYS out of .dev.vars.`
}

/** Said when a gateway in front of OpenRouter is ready. It never shows a token: they are real. */
export async function costlyGreeting(
  gatewayUrl: string,
  bindings: Readonly<Record<string, unknown>>,
): Promise<string> {
  const { clients } = readClientKeys(bindings.CLIENT_KEYS)
  const [client] = clients
  const token =
    client === undefined
      ? '  export CLIENT_TOKEN=none     # ANONYMOUS_CLIENTS is "allow": any token will do'
      : `  export CLIENT_TOKEN=...      # the token of "${client.id}", from CLIENT_KEYS in .dev.vars`
  return `
Switchyard on ${gatewayUrl}: upstream is OpenRouter (${bindings.UPSTREAM_URL}). REQUESTS COST MONEY.

${dashboardHint(gatewayUrl, bindings)}${token}
${snippets(gatewayUrl, { shell: '"authorization: Bearer $CLIENT_TOKEN"', js: 'process.env.CLIENT_TOKEN' })}`
}

/** Where the dashboard is, if there is one. */
function dashboardHint(gatewayUrl: string, { ADMIN_TOKEN }: Readonly<Record<string, unknown>>) {
  if (typeof ADMIN_TOKEN !== 'string' || ADMIN_TOKEN.trim() === '') return ''
  return `See what it does, live: ${gatewayUrl}/admin     sign in with ADMIN_TOKEN of .dev.vars\n\n`
}

/** Said when a gateway in front of the simulator is ready. */
export function simulatedGreeting(
  gatewayUrl: string,
  simulatorUrl: string,
  { client: token, admin }: { readonly client: string; readonly admin: string },
): string {
  return `
Switchyard on ${gatewayUrl}: upstream is the SIMULATOR, not OpenRouter. Nothing costs money.

See what it does, live: ${gatewayUrl}/admin     sign in with ${admin}

${snippets(gatewayUrl, { shell: `'authorization: Bearer ${token}'`, js: `'${token}'` })}
Now let something fail, and see what the client notices of it (-i shows x-switchyard-attempts):
  "model":"sim/401@alpha"              the key alpha is refused, another key answers
  "model":"sim/cut-before-output"      every key breaks off before its first word
  "model":"sim/cut-mid-stream"         the stream breaks off after its first words
  curl ${simulatorUrl}/control         all other faults, and how to revoke, spend and limit keys

Give an app a key of its own, with a budget (docs/operating.md):
  curl ${gatewayUrl}/admin/api/clients -H 'authorization: Bearer ${admin}' \\
    -d '{"id":"my-app","rpm":60,"budget":{"usd":1,"period":"day"}}'
`
}

function snippets(
  gatewayUrl: string,
  token: { readonly shell: string; readonly js: string },
): string {
  return `  curl ${gatewayUrl}/api/v1/chat/completions \\
    -H ${token.shell} -H 'content-type: application/json' \\
    -d '{"model":"openai/gpt-4o-mini","stream":true,"messages":[{"role":"user","content":"Hello"}]}' -iN

  import OpenAI from 'openai'
  const openai = new OpenAI({ baseURL: '${gatewayUrl}/api/v1', apiKey: ${token.js} })
  const answer = await openai.chat.completions.create({
    model: 'openai/gpt-4o-mini',
    messages: [{ role: 'user', content: 'Hello' }],
  })
  console.log(answer.choices[0].message.content)
`
}
