"""The vendor's documented samples on agents and queues: facts to compare with, ids masked as its pages mask them.

Requests are the text of the pages' bodies; of answers only the keys count, and which of them hold objects.
"""

from typing import Any, Final

ACCOUNT: Final = "67654be356840f366e79xxxx"
ORG: Final = "o-7fc14025-8feb-5b1b-889d-4a689f9dxxxx"
STREAM: Final = "st-ceb5fb14-37eb-54a8-a32d-1d751c10xxxx"
UPDATED_AGENT: Final = "a-5892576-bb12-461b-a58a-637d1d21xxxx"
UPDATED_USER: Final = "u-4bd33510-057b-505b-820d-7de70816xxxx"
QUEUE_OF_NEW_AGENT: Final = "qu-854eaa2-b0b6-4327-9008-723d7519xxxx"
CUSTOM_ID: Final = "A..Zxyz09!'()*+,-./:;<=>?@[]^_`{|}"

CREATE_AGENT: Final = """{
    "emailId": "john.doe@example.com",
    "firstName": "nov05",
    "lastName": "agent3",
    "nickName": "agent three",
    "phoneNumber": "13456782345",
    "agentGroupId": "ag-c57b602-151a-41c8-8630-a1eae433xxxx",
    "canSupportChat": true,
    "maxChatSupport": 5,
    "canSupportVoice": true,
    "customId" : "A..Zxyz09!'()*+,-./:;<=>?@[]^_`{|}",
    "roleId": "67654be356840f366e79xxxx",
    "chatLanguageSupport": [
        {
            "language": "en",
            "proficiency": "expert",
            "isActive": true
        }
    ],
    "voiceLanguageSupport": [
        {
            "language": "en",
            "proficiency": "expert",
            "isActive": true
        }
    ],
    "skills": [],
    "desktopLayouts": [],
    "queues": [
        {
            "id": "qu-854eaa2-b0b6-4327-9008-723d7519xxxx",
            "isPreferredAgent": false
        }
    ],
    "createDefaultLayoutAndAssign": true
}"""

UPDATE_AGENT: Final = """{
    "firstName": "aug08",
    "lastName": "agent1",
    "fullName": "aug08 agent1",
    "lFullName": "aug08 agent1",
    "emailId": "aug08agent1@yopmail.com",
    "nickName": "agent One",
    "phoneNumber": "134567890982",
    "userId": "u-4bd33510-057b-505b-820d-7de70816xxxx",
    "accountId": "67654be356840f366e79xxxx",
    "isAccountOwner": false,
    "orgId": "o-7fc14025-8feb-5b1b-889d-4a689f9dxxxx",
    "customId": "A..Zxyz09!'()*+,-./:;<=>?@[]^_`{|}~2222212221212121219",
    "agentGroups": [
        {
            "groupId": "ag-c57b602-151a-41c8-8630-a1eae433xxxx",
            "role": "agent"
        }
    ],
    "canSupportChat": true,
    "canSupportCase": false,
    "canSupportVoiceMail": false,
    "chatLanguageSupport": [
        {
            "language": "en",
            "proficiency": "expert",
            "isActive": true
        }
    ],
    "canSupportVoice": true,
    "voiceLanguageSupport": [
        {
            "language": "en",
            "proficiency": "expert",
            "isActive": true
        }
    ],
    "attachmentsEnabled": true,
    "emojisEnabled": true,
    "createdBy": "u-e454bed4-1f28-5a19-83bb-b29cc237xxxx",
    "status": "ACTIVE",
    "roleId": "67654be356840f366e79xxxx",
    "iId": "st-ceb5fb14-37eb-54a8-a32d-1d751c10xxxx",
    "createdByAId": "a-ca6a70e-32d3-43bb-b7ee-d29995a0xxxx",
    "desktopLayouts": [
        {
            "id": "ly-c118776-315a-4b36-a0dc-00010296xxxx",
            "isDefault": true
        }
    ],
    "maxDigitalChatSupport": 5,
    "maxEmailChatSupport": 5,
    "maxMessagingChatSupport": 5,
    "markedAutoAway": false,
    "dAgentGroups": [],
    "caseLanguageSupport": [],
    "lastOnlineAt": "2025-08-05T06:42:06.414Z",
    "voiceSupport": [],
    "createdAt": "2025-08-05T06:42:06.414Z",
    "updatedAt": "2025-08-05T06:42:06.414Z",
    "id": "a-5892576-bb12-461b-a58a-637d1d21xxxx",
    "agentGroupId": "ag-c57b602-151a-41c8-8630-a1eae433xxxx",
    "queues": [],
    "skills": []
}"""

ASK_AVAILABILITY: Final = """{
   "skillIds": ["68402981bfe0b8e53f7xxxxx"],
   "queueIds": ["qu-e30b539-dd3c-4e10-90a9-354a3e7xxxxx"],
   "agentIds": ["a-75b2b7b-674c-49d2-ad7a-8bce77cxxxxx"]

}"""

QUEUE_ACCOUNT: Final = "649bdcaf5037ed113942xxxx"
QUEUE_ORG: Final = "o-a5f1f5a9-2244-5bc7-adf8-bd5e6519xxxx"
QUEUE_STREAM: Final = "st-d2aa65cc-a2d2-5b6d-84d7-861509e2xxxx"
QUEUE_AGENT: Final = "a-ee9919b-9343-48eb-a951-1085e06xxxx"
QUEUE_USER: Final = "u-be1f62a6-1ea6-59eb-8cae-831edd2xxxx"

CREATE_QUEUE: Final = """{
    "isActive": true,
    "isDefault": false,
    "name": "11111122",
    "isAdvancedRoutingEnabled": true,
    "description": "queue2",
    "orgId": "o-a5f1f5a9-2244-5bc7-adf8-bd5e6519xxxx",
    "hoursOfOperation": {
        "id": "649bdd219d557c241ad0xxxx",
        "name": ""
    },
    "agents": [
        {
            "userId": "u-be1f62a6-1ea6-59eb-8cae-831edd2xxxx",
            "isPreferredAgent": true,
            "aId": "a-ee9919b-9343-48eb-a951-1085e06xxxx",
            "name": "kjhdkjhsddjk kjadksddjk",
            "id": ""
        }
    ],
    "skills": [{
"id": "123",
"name": "",
"isExpireEnabled": true,
"expireTime": {
"min": "1",
"sec": "0"
}
}],
    "agentGroups": [],
    "advancedSettings": {
        "preferredAgentTimeout": {},
        "isSkillMatchEnabled": true,
        "isAffinityMatchEnabled": true
    },
    "maxTimeout": {
        "min": 10,
        "sec": 0
    }
}"""

ASK_AGENTS_OF_QUEUES: Final = """{
    "queueIds":["qu-70d0451-bb2a-4cc9-9bdb-ec5c1cccxxxx"]
}"""
ASK_QUEUES_OF_AGENTS: Final = """{
    "agentIds":["a-3eab367-e201-4c77-b392-3d3972b8xxxx"]
}"""


def _keys(*names: str) -> dict[str, Any]:
    return dict.fromkeys(names)


_CREATED: Final = (
    "emailId firstName lastName nickName phoneNumber profImage agentGroupId canSupportChat maxChatSupport "
    "canSupportVoice attachmentsEnabled emojisEnabled roleId chatLanguageSupport voiceLanguageSupport skills "
    "desktopLayouts createDefaultLayoutAndAssign orgId userId callRegion maxDigitalChatSupport maxEmailChatSupport "
    "maxMessagingChatSupport"
)
_READ: Final = (
    "firstName lastName fullName lFullName emailId nickName profImage phoneNumber userId accountId isAccountOwner "
    "orgId customId agentGroups canSupportChat canSupportCase maxCaseSupport maxTaskSupport canSupportVoiceMail "
    "maxVoiceMailSupport chatLanguageSupport caseLanguageSupport canSupportVoice voiceLanguageSupport "
    "maxDigitalConvoLimit attachmentsEnabled emojisEnabled createdBy status roleId iId desktopLayouts cmLayouts "
    "voiceSupport maxDigitalChatSupport maxEmailChatSupport maxMessagingChatSupport markedAutoAway dAgentGroups "
    "lastOnlineAt createdAt updatedAt onlineStatus onlineStatusType sipURI isChannelUpdatedByAgent profImageUrl id "
    "name addresses iceServers domain preferences role skills queues internalChatPermission callRegion"
)
_UPDATED: Final = (
    "status agentAffinity canSupportChat maxChatSupport roleId chatLanguageSupport canSupportVoice "
    "voiceLanguageSupport desktopLayouts userId accountId createdBy orgId agentGroups lastOnlineAt createdAt "
    "updatedAt onlineStatus onlineStatusType id emailId firstName lastName nickName phoneNumber profImage sipURI skills"
)
_LISTED: Final = (
    "status userId orgId accountId agentGroups canSupportChat maxChatSupport chatLanguageSupport canSupportVoice "
    "voiceLanguageSupport createdBy onlineStatus onlineStatusType hoursOfOperationId roleId createdAt updatedAt "
    "lastOnlineAt desktopLayouts attachmentsEnabled emojisEnabled isAccountOwner sipURI id emailId firstName lastName "
    "nickName phoneNumber profImage skills role"
)
_BY_CUSTOM_ID: Final = (
    "firstName lastName fullName lFullName emailId nickName profImage phoneNumber userId accountId isAccountOwner "
    "orgId agentGroups canSupportChat canSupportCase canSupportVoice customId id status onlineStatus onlineStatusType"
)
_CAPACITY: Final = _keys("isEnabled", "totalCapacity", "usedCapacity", "availableCapacity")
_QUEUE: Final[dict[str, Any]] = {
    **_keys("isActive", "isDefault", "name", "isAdvancedRoutingEnabled", "description", "orgId", "createdBy", "id"),
    "hoursOfOperation": _keys("id", "name"),
    "skills": None,
    "agentGroups": None,
    "advancedSettings": _keys("preferredAgentTimeout", "isSkillMatchEnabled", "isAffinityMatchEnabled"),
}
_MEMBER: Final[dict[str, Any]] = {
    **_keys("userId", "name", "isPreferredAgent"),
    "skills": [_keys("id", "name")],
}

# The answers' keys. What is sent as it pleases the caller comes back so: there the keys are the caller's (None).
CREATED_AGENT: Final[Any] = {**_keys(*_CREATED.split()), "queues": [_keys("id", "isPreferredAgent")]}
AGENT: Final[Any] = _keys(*_READ.split())
UPDATED: Final[Any] = {
    **_keys(*_UPDATED.split()),
    "queues": [_keys("id", "name", "description", "isPreferredAgent")],
}
AGENTS: Final[Any] = {
    "results": [
        {
            **_keys(*_LISTED.split()),
            "queues": [{**_keys("name", "description", "id"), "agents": [_keys("isPreferredAgent", "userId")]}],
        }
    ]
}
AGENTS_BY_CUSTOM_ID: Final[Any] = [_keys(*_BY_CUSTOM_ID.split())]
SKILL: Final[Any] = _keys("skillId", "userId", "id")
AVAILABILITY: Final[Any] = {
    "AVAILABLE": [
        {
            **_keys("_id", "userId", "firstName", "lastName", "emailId", "customId", "phoneNumber", "isDigitalEnabled"),
            "channelCapacity": dict.fromkeys(("liveChat", "messaging", "email", "voice", "voiceMail"), _CAPACITY),
        }
    ],
    "BUSY": [],
    "OFFLINE": [],
    "AWAY": [],
}
CREATED_QUEUE: Final[Any] = {**_QUEUE, "agents": [_MEMBER]}
QUEUES: Final[Any] = {
    "results": [
        {
            **_QUEUE,
            "sourceAgentGroups": None,
            "agents": [{**_MEMBER, "hoursOfOperation": _keys("hoursOfOperationId", "name")}],
        }
    ],
    **_keys("page", "limit", "hasMore", "totalPages", "totalResults"),
}
AGENTS_OF_QUEUES: Final[Any] = [_keys("userId", "aId", "name", "profImage")]


def missing(documented: Any, answer: Any, place: str = "") -> list[str]:
    """Where the answer lacks something that the documented one has; each element of an array is looked at.

    An array whose elements are described must have one.
    """
    if isinstance(documented, dict):
        if not isinstance(answer, dict):
            return [place]
        lacking = [f"{place}.{name}" for name in documented if name not in answer]
        known = [name for name in documented if name in answer]
        return lacking + [one for name in known for one in missing(documented[name], answer[name], f"{place}.{name}")]
    if isinstance(documented, list):
        if not isinstance(answer, list) or (documented and not answer):
            return [f"{place}[]"]
        return [one for element in answer for kind in documented[:1] for one in missing(kind, element, f"{place}[]")]
    return []
