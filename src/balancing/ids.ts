/**
 * Branded identifiers. The compiler accepts a bare `string` in the place of any other string.
 * The costliest bug of pooled-key proxies is exactly that mix-up: a counter is kept under the
 * secret and cleared under the id. The brands exist only at compile time.
 */
declare const brand: unique symbol
type Brand<T, Name extends string> = T & { readonly [brand]: Name }

/** The public name of an OpenRouter key. Never the secret. */
export type KeyId = Brand<string, 'KeyId'>
/** Who pays for keys. The keys of one account share its balance and its rate limits. */
export type AccountId = Brand<string, 'AccountId'>
/** The name of a lease. The Worker creates it, so a repeated lease request is granted only once. */
export type LeaseId = Brand<string, 'LeaseId'>
/** An app that calls the gateway. */
export type ClientId = Brand<string, 'ClientId'>
/** A team or a department: some clients that share limits and budgets. */
export type GroupId = Brand<string, 'GroupId'>
/** One running copy of the Worker. It names itself when it starts. */
export type IsolateId = Brand<string, 'IsolateId'>
/** A model name as it is sent upstream. */
export type ModelId = Brand<string, 'ModelId'>

/** These put the brand on a string. They check nothing. */
export const keyId = (value: string): KeyId => value as KeyId
export const accountId = (value: string): AccountId => value as AccountId
export const leaseId = (value: string): LeaseId => value as LeaseId
export const clientId = (value: string): ClientId => value as ClientId
export const groupId = (value: string): GroupId => value as GroupId
export const isolateId = (value: string): IsolateId => value as IsolateId
export const modelId = (value: string): ModelId => value as ModelId
