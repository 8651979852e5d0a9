/**
 * Branded identifiers. A bare `string` compiles wherever any other string does,
 * and the costliest bug of pooled-key proxies is exactly that mix-up: a counter
 * kept under the secret and cleared under the id. The brands exist only at
 * compile time.
 */
declare const brand: unique symbol
type Brand<T, Name extends string> = T & { readonly [brand]: Name }

/** The public name of an OpenRouter key. Never the secret. */
export type KeyId = Brand<string, 'KeyId'>
/** Who pays for a key; keys of one account share balance and rate limits. */
export type AccountId = Brand<string, 'AccountId'>
/** Permission for one upstream attempt. Minted by the Worker, so that asking twice grants once. */
export type LeaseId = Brand<string, 'LeaseId'>
/** An app that calls the gateway. */
export type ClientId = Brand<string, 'ClientId'>
/** A model name as it is sent upstream. */
export type ModelId = Brand<string, 'ModelId'>

export const keyId = (value: string): KeyId => value as KeyId
export const accountId = (value: string): AccountId => value as AccountId
export const leaseId = (value: string): LeaseId => value as LeaseId
export const clientId = (value: string): ClientId => value as ClientId
export const modelId = (value: string): ModelId => value as ModelId
