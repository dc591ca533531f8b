// The workspace's side of a connection: tables, rule, its errors in the workspace, and what cmsync may do. The same as
// workspace.json, which `cmsync connect --template` writes for a connection of its own.
//   az deployment group create --resource-group RG --template-file deploy/azure/workspace.bicep \
//     --parameters workspace=NAME siteCode=CAS principalId=OBJECT-ID
@description('Name of the Log Analytics workspace, which is there.')
param workspace string
@description('Name of the data collection rule.')
param rule string = 'cmsync'
@description('The workspace\'s region.')
param location string = resourceGroup().location
@description('Code of the hierarchy\'s top-tier site.')
param siteCode string
@description('Object id of the service principal, or managed identity, that cmsync signs in as.')
param principalId string

var memberColumns = [
  { name: 'TimeGenerated', type: 'datetime' }
  { name: 'SiteCode', type: 'string' }
  { name: 'GroupId', type: 'string' }
  { name: 'ResourceId', type: 'long' }
  { name: 'Computer', type: 'string' }
  { name: 'NetbiosName', type: 'string' }
  { name: 'AssignedSite', type: 'string' }
  { name: 'Action', type: 'string' }
  { name: 'Seq', type: 'long' }
]
var collectionColumns = [
  { name: 'TimeGenerated', type: 'datetime' }
  { name: 'SiteCode', type: 'string' }
  { name: 'GroupId', type: 'string' }
  { name: 'Group', type: 'string' }
  { name: 'GroupFullName', type: 'string' }
  { name: 'MemberCount', type: 'long' }
  { name: 'RunId', type: 'string' }
  { name: 'StartSeq', type: 'long' }
  { name: 'Seq', type: 'long' }
  { name: 'Instance', type: 'string' }
  { name: 'Status', type: 'string' }
]

// Monitoring Metrics Publisher sends through the rule; Log Analytics Contributor keeps the computer groups, Log Analytics
// Reader verifies. docs/identities.md has a smaller role for the groups.
var publisher = '3913510d-42f4-4e42-8a64-420c390055eb'
var contributor = '92aaf0da-9dab-42b6-94a3-d43ce8d16293'
var reader = '73c42c96-874c-492b-b04d-ab87d138a893'

resource logs 'Microsoft.OperationalInsights/workspaces@2022-10-01' existing = {
  name: workspace
}

resource members 'Microsoft.OperationalInsights/workspaces/tables@2022-10-01' = {
  parent: logs
  name: 'ConfigMgrCollectionMember_CL'
  properties: {
    plan: 'Analytics'
    schema: {
      name: 'ConfigMgrCollectionMember_CL'
      description: 'Kept by cmsync: members of Configuration Manager collections'
      columns: memberColumns
    }
  }
}

resource collections 'Microsoft.OperationalInsights/workspaces/tables@2022-10-01' = {
  parent: logs
  name: 'ConfigMgrCollection_CL'
  properties: {
    plan: 'Analytics'
    schema: {
      name: 'ConfigMgrCollection_CL'
      description: 'Kept by cmsync: Configuration Manager collections'
      columns: collectionColumns
    }
  }
}

resource dataRule 'Microsoft.Insights/dataCollectionRules@2024-03-11' = {
  name: rule
  location: location
  kind: 'Direct'
  tags: { cmsync: siteCode }
  dependsOn: [ members, collections ]
  properties: {
    streamDeclarations: {
      'Custom-ConfigMgrCollectionMember': { columns: memberColumns }
      'Custom-ConfigMgrCollection': { columns: collectionColumns }
    }
    destinations: {
      logAnalytics: [ { name: 'workspace', workspaceResourceId: logs.id } ]
    }
    dataFlows: [
      {
        streams: [ 'Custom-ConfigMgrCollectionMember' ]
        destinations: [ 'workspace' ]
        outputStream: 'Custom-ConfigMgrCollectionMember_CL'
        transformKql: 'source'
      }
      {
        streams: [ 'Custom-ConfigMgrCollection' ]
        destinations: [ 'workspace' ]
        outputStream: 'Custom-ConfigMgrCollection_CL'
        transformKql: 'source'
      }
    ]
  }
}

resource errors 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  name: 'cmsync'
  scope: dataRule
  properties: {
    workspaceId: logs.id
    logs: [ { category: 'LogErrors', enabled: true } ]
  }
}

resource publishes 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(dataRule.id, principalId, publisher)
  scope: dataRule
  properties: {
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', publisher)
    description: 'cmsync'
  }
}

resource keepsGroups 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(logs.id, principalId, contributor)
  scope: logs
  properties: {
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', contributor)
    description: 'cmsync'
  }
}

resource verifies 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(logs.id, principalId, reader)
  scope: logs
  properties: {
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', reader)
    description: 'cmsync'
  }
}

@description('For workspace.rules in the configuration.')
output ruleId string = dataRule.properties.immutableId
output endpoint string = dataRule.properties.endpoints.logsIngestion
