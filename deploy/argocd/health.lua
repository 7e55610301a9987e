-- The health of a ThroughputStudy for Argo CD (Lua 5.1, no libraries). Accepted is Healthy: a study takes hours, and a
-- sync must not wait for its result. To keep it Progressing until there is one, test Succeeded instead of Accepted.
local health = {status = "Progressing", message = "no operator has reconciled it yet"}
local status = obj.status
if status == nil or status.conditions == nil or status.observedGeneration ~= obj.metadata.generation then
  return health
end

local conditions = {}
for _, condition in ipairs(status.conditions) do
  conditions[condition.type] = condition
end
local function holds(kind)
  return conditions[kind] ~= nil and conditions[kind].status == "True"
end

if conditions.Ready ~= nil then
  health.message = conditions.Ready.reason .. ": " .. conditions.Ready.message
end
if holds("Stalled") then
  health.status = "Degraded"
  health.message = conditions.Stalled.reason .. ": " .. conditions.Stalled.message
elseif holds("Suspended") then
  health.status = "Suspended"
elseif holds("Accepted") then
  health.status = "Healthy"
end
return health
