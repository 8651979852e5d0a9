import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { clientHeaders, upstreamHeaders } from '../../src/openrouter/headers.ts'

const namesOf = (headers: Headers) => [...headers.keys()].sort()

describe('upstreamHeaders', () => {
  it('forwards what OpenRouter knows, whatever the letter case', () => {
    const forwarded = {
      'Content-Type': 'application/json',
      Accept: 'text/event-stream',
      'HTTP-Referer': 'https://app.example',
      'X-Title': 'App',
      'X-OpenRouter-Title': 'App',
      'X-OpenRouter-Cache': 'true',
      'x-session-id': 'abc',
      'anthropic-version': '2023-06-01',
      'anthropic-beta': 'x',
      'x-anthropic-beta': 'y',
      'User-Agent': 'openai-node',
    }
    const headers = upstreamHeaders(new Headers(forwarded))
    for (const [name, value] of Object.entries(forwarded)) expect(headers.get(name)).toBe(value)
  })

  it.each([
    'authorization',
    'x-api-key',
    'cookie',
    'content-length',
    'transfer-encoding',
    'connection',
    'host',
    'referer',
    'origin',
    'cf-connecting-ip',
    'x-forwarded-for',
    'x-real-ip',
    'x-request-id',
    'x-openrouter',
    'proxy-authorization',
  ])('never forwards %s', (name) => {
    expect(upstreamHeaders(new Headers({ [name]: '1' })).get(name)).toBeNull()
  })

  it('asks for the answer uncompressed, whatever the caller takes', () => {
    expect(upstreamHeaders(new Headers()).get('accept-encoding')).toBe('identity')
    const headers = upstreamHeaders(new Headers({ 'accept-encoding': 'gzip, br' }))
    expect(headers.get('accept-encoding')).toBe('identity')
  })

  it('leaves the caller’s headers as they were', () => {
    const incoming = new Headers({ accept: '*/*', cookie: 'a=b' })
    upstreamHeaders(incoming)
    expect(namesOf(incoming)).toEqual(['accept', 'cookie'])
  })

  it('forwards nothing that is not on the list', () => {
    const token = fc.stringMatching(/^[a-z][a-z0-9-]{0,20}$/)
    const known =
      /^(content-type|accept|accept-encoding|http-referer|x-title|x-openrouter-.*|x-session-id|anthropic-version|anthropic-beta|x-anthropic-beta|user-agent)$/
    fc.assert(
      fc.property(fc.array(token), (names) => {
        const incoming = new Headers(names.map((name): [string, string] => [name, '1']))
        for (const name of upstreamHeaders(incoming).keys()) expect(name).toMatch(known)
      }),
    )
  })
})

describe('clientHeaders', () => {
  it('returns what the caller may use, and nothing else', () => {
    const upstream = new Headers({
      'Content-Type': 'text/event-stream',
      'Cache-Control': 'no-cache',
      'Retry-After': '5',
      'X-Generation-Id': 'gen-1',
      'X-Provider-Name': 'Azure',
      'X-RateLimit-Limit': '20',
      'X-RateLimit-Remaining': '0',
      'X-RateLimit-Reset': '1',
      'X-OpenRouter-Cache-Status': 'MISS',
      'CF-Ray': '1',
      'Content-Encoding': 'gzip',
      'Content-Length': '10',
      'Transfer-Encoding': 'chunked',
      Connection: 'keep-alive',
      Server: 'cloudflare',
      'Access-Control-Allow-Origin': '*',
      'Set-Cookie': '__cf_bm=1',
    })
    expect(namesOf(clientHeaders(upstream))).toEqual([
      'cache-control',
      'content-type',
      'retry-after',
      'x-generation-id',
      'x-openrouter-cache-status',
      'x-provider-name',
      'x-ratelimit-limit',
      'x-ratelimit-remaining',
      'x-ratelimit-reset',
    ])
  })
})
