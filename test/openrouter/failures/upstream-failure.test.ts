import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { readError } from '../../../src/openrouter/failures/upstream-failure.ts'

describe('readError', () => {
  it('reads OpenRouter’s shape', () => {
    const metadata = { provider_name: 'DeepInfra', raw: 'busy', is_byok: false }
    expect(
      readError({ error: { code: 429, message: 'Provider returned error', metadata } }, 429),
    ).toEqual({
      status: 429,
      message: 'Provider returned error',
      errorType: null,
      providerName: 'DeepInfra',
      limitSource: null,
      isByok: false,
      metadata,
    })
  })

  it('reads Anthropic’s shape, with its metadata at the top', () => {
    const body = {
      type: 'error',
      error: { type: 'rate_limit_error', message: 'Slow', error_type: 'rate_limit_exceeded' },
      metadata: { limit_source: 'free_tier_per_minute' },
      request_id: null,
    }
    expect(readError(body, null)).toMatchObject({
      status: 429,
      message: 'Slow',
      errorType: 'rate_limit_exceeded',
      limitSource: 'free_tier_per_minute',
    })
  })

  it('reads a failed run of /responses, whose error_type is more exact than its code', () => {
    const body = {
      id: 'gen-1',
      status: 'failed',
      error: { code: 'server_error', message: 'No' },
      error_type: 'authentication',
    }
    expect(readError(body, 200)).toMatchObject({ status: 401, errorType: 'authentication' })
  })

  it.each(['openrouter_key_limit', 'key_limit'])('knows %s by one name', (limit_source) => {
    const body = { error: { code: 403, message: 'No', metadata: { limit_source } } }
    expect(readError(body, 403)?.limitSource).toBe('key_limit')
  })

  it.each([
    [429, 429],
    ['429', 429],
    [' 503 ', 503],
    ['rate_limit_exceeded', 429],
    ['context_length_exceeded', 400],
    ['invalid_prompt', 400],
    ['failed_to_download_image', 400],
    ['bio_policy', 403],
    ['image_file_not_found', 404],
    ['vector_store_timeout', 504],
    ['payment_required', 402],
    ['content_policy_violation', 403],
    ['provider_overloaded', 503],
    ['timeout', 504],
    ['constructor', 502],
    [200, 502],
    [42, 502],
    [400.5, 502],
    [Number.NaN, 502],
    [null, 502],
    [undefined, 502],
  ])('takes the code %j in a stream for the status %i', (code, status) => {
    expect(readError({ error: { code, message: 'No' } }, null)?.status).toBe(status)
    expect(readError({ error: { code, message: 'No' } }, 200)?.status).toBe(status)
  })

  it.each([
    ['overloaded_error', 529],
    ['billing_error', 402],
    ['api_error', 500],
  ])('takes Anthropic’s %s for the status %i', (type, status) => {
    expect(readError({ type: 'error', error: { type, message: 'No' } }, null)?.status).toBe(status)
  })

  it('believes an error status of HTTP before the body', () => {
    expect(readError({ error: { code: 401, message: 'No' } }, 503)?.status).toBe(503)
  })

  it('reads an error that is a plain string', () => {
    expect(readError({ error: 'Internal Server Error' }, 500)).toMatchObject({
      status: 500,
      message: 'Internal Server Error',
    })
  })

  it('takes the metadata beside a run of /responses for the caller’s, which it repeats', () => {
    const metadata = { limit_source: 'key_limit', provider_name: 'X' }
    const error = { code: 'server_error', message: 'No' }
    for (const httpStatus of [null, 200, 502]) {
      expect(
        readError({ id: 'gen-1', status: 'failed', error, metadata }, httpStatus),
      ).toMatchObject({ limitSource: null, providerName: null, metadata: {} })
    }
  })

  it('lets what lies in the error go before what lies beside it', () => {
    const body = {
      error: { code: 429, message: 'No', metadata: { provider_name: 'A' } },
      metadata: { provider_name: 'B', is_byok: true },
    }
    expect(readError(body, 429)).toMatchObject({ providerName: 'A', isByok: true })
  })

  it.each([
    undefined,
    null,
    '',
    '<html>',
    7,
    [],
    {},
    { error: null },
    { error: '' },
    { error: [] },
  ])('finds no error in %j', (body) => {
    expect(readError(body, 502)).toBeNull()
  })

  it('never throws, and never gives a status that is not an error’s', () => {
    const status = fc.option(fc.integer())
    fc.assert(
      fc.property(fc.anything(), status, (value, httpStatus) => {
        for (const body of [value, { error: value }, { error: { code: value, metadata: value } }]) {
          const error = readError(body, httpStatus)
          if (error === null) continue
          expect(error.status).toBeGreaterThanOrEqual(400)
          expect(error.status).toBeLessThanOrEqual(599)
          expect(typeof error.message).toBe('string')
        }
      }),
    )
  })
})
