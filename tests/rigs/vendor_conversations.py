"""The vendor's documented samples about conversations, as facts: what is called, and which members the answers have.

From "List of Conversations", "Get a Specific Conversation" and "Get Conversation Details". Values stand for their
shape; texts of people are left out.
"""

from typing import Any

LIST_QUERY = "skip={}&limit={}&fields={}&status={}&source={}&language={}"
STATUSES = ("ACTIVE", "CLOSED", "IDLE", "OPEN", "OVERDUE", "TERMINATED")

# As printed: a GET with a body.
DETAILS_HEADERS = {
    "accept": "application/json, text/plain, */*",
    "accept-language": "en-US,en;q=0.9",
    "app-language": "en",
    "content-type": "application/json;charset=UTF-8",
}
DETAILS_BODY = """{
    "startDate":"2024-10-24",
    "endDate":"2024-10-28",
    "timeZoneOffset": -330
}"""

USER_INFO = {
    "firstName": "Test",
    "lastName": "User",
    "email": "john.doe@example.com",
    "phoneNumber": "9999999999",
    "activationStatus": "active",
}

CONVERSATION: dict[str, Any] = {
    "participants": [
        {
            "queueId": "qu-241a4d7-e5d0-45a9-8032-82384505xxxx",
            "queueStartTime": "2023-05-22T04:55:05.350Z",
            "queueName": "Default Queue",
            "agentId": "u-b19cd89e-6533-59af-b491-eec9bf8fxxxx",
            "name": "John Doe",
            "status": "INACTIVE",
            "assignedAt": "2023-05-22T04:55:05.452Z",
            "startTimeStamp": "2023-05-22T04:55:07.718Z",
            "endTimeStamp": "2023-05-22T05:29:14.043Z",
            "isTransferred": False,
            "onInterrupt": True,
        }
    ],
    "transferDetails": [
        {
            "fromQueue": "qu-241a4d7-e5d0-45a9-8032-82384505xxxx",
            "fromAgent": "u-b19cd89e-6533-59af-b491-eec9bf8fxxxx",
            "transferredType": "QUEUE",
            "transferredTo": [
                {"id": "qu-241a4d7-e5d0-45a9-8032-82384505xxxx", "name": "Default Queue", "type": "QUEUE"}
            ],
            "transferredBy": "u-b19cd89e-6533-59af-b491-eec9bf8fxxxx",
            "priority": "HIGHEST",
            "transferredAt": "2023-05-22T05:29:14.007Z",
            "isManager": False,
        }
    ],
    "waitTime": 3369,
    "isProactiveAgentAssistEnabled": True,
    "status": "CLOSED",
    "callbackOpted": False,
    "contactFlow": [],
    "surveyRequired": "YES",
    "isDeveloper": False,
    "_id": "c-3c04346-e522-4c53-9e03-c9566d85xxxx",
    "orgId": "o-ca23f4c5-cc3e-586d-90e6-8375bf2dxxxx",
    "userId": "u-aa15c0f4-7f78-5912-8713-f5cd1c3exxxx",
    "accountId": "637368b4a1d039e34ba6xxxx",
    "botId": "st-3bf09bef-f979-5489-b337-f465bd5dxxxx",
    "source": "rtm",
    "botSessionId": "646af57bcc41e5bfbd5exxxx",
    "language": "en",
    "keyIntentName": "TalkToAgent",
    "keyIntentUserInput": "I want to talk to an agent",
    "conversationType": "messaging",
    "priority": 5,
    "startTime": "2023-05-22T04:55:05.351Z",
    "endTime": "2023-05-22T05:29:14.086Z",
    "skills": [],
    "acceptedAt": "2023-05-22T04:55:07.718Z",
    "notes": [],
    "dispositions": {"metaStatus": "SYSTEM_DROP_OFF", "status": "DROP-OFF", "remarks": "…", "dispositionSets": None},
}

DETAILS: dict[str, Any] = {
    "_id": "c-ab4eb09-8dba-4db8-9176-b0ee670dxxxx",
    "participants": [
        {
            "queueId": "qu-a8203c2-aee7-4aa0-bb95-64e5c17exxxx",
            "queueStartTime": "2025-08-23T06:23:45.100Z",
            "queueName": "Default Queue",
            "agentId": "u-4149b5e5-9bbd-502d-b0ab-bfbd01d6xxxx",
            "name": "SmartAssist QA",
            "status": "INACTIVE",
            "assignedAt": "2025-08-23T06:23:45.595Z",
            "startTimeStamp": "2025-08-23T06:23:55.593Z",
            "conversationTransferred": True,
            "reason": "OVERDUE",
            "endTimeStamp": "2025-08-23T06:27:13.724Z",
        },
        {
            "queueId": "qu-a8203c2-aee7-4aa0-bb95-64e5c17exxxx",
            "queueStartTime": "2025-08-23T06:27:13.707Z",
            "queueName": "Default Queue",
            "agentId": "u-4149b5e5-9bbd-502d-b0ab-bfbd01d6xxxx",
            "name": "SmartAssist QA",
            "status": "ACTIVE",
            "assignedAt": "2025-08-23T06:33:49.658Z",
            "startTimeStamp": "2025-08-23T06:33:52.136Z",
            "endTimeStamp": "2025-08-23T06:33:54.960Z",
            "endedChat": True,
        },
    ],
    "transferDetails": [
        {
            "fromQueue": "qu-a8203c2-aee7-4aa0-bb95-64e5c17exxxx",
            "transferredByAgentName": "SmartAssist QA",
            "transferredType": "QUEUE",
            "transferredTo": [
                {"id": "qu-a8203c2-aee7-4aa0-bb95-64e5c17exxxx", "name": "Default Queue", "type": "QUEUE"}
            ],
            "priority": "HIGHEST",
            "transferredAt": "2025-08-23T06:27:13.707Z",
            "systemTransferReason": "OVERDUE",
            "systemTransfer": True,
        }
    ],
    "conversationType": "livechat",
    "status": "CLOSED",
    "summary": ["…"],
    "dispositions": {
        "status": "Resolved",
        "remarks": "…",
        "dispositionSets": [{"dispositionsSet": "Resolution", "dispositionCodes": "Resolved"}],
        "metaStatus": "AGENT_CLOSED",
    },
    "userInfo": USER_INFO,
}

LISTED: dict[str, Any] = {
    "startSessionTime": "2023-05-25T06:56:11.959Z",
    "botSessionId": "646f068b2462fdb06685xxxx",
    "botId": "st-3bf09bef-f979-5489-b337-f465bd5dxxxx",
    "userId": "u-f812d6e9-58ce-5a74-9d20-7011deb4xxxx",
    "orgId": "o-ca23f4c5-cc3e-586d-90e6-8375bf2dxxxx",
    "source": "audiocodes",
    "_id": "c-3d7265b-de0a-489d-a2eb-69ce6bdexxxx",
    "participants": [
        {
            "agentId": "u-b19cd89e-6533-59af-b491-eec9bf8fxxxx",
            "name": "John Doe",
            "status": "ACTIVE",
            "assignedAt": "2023-05-25T06:58:57.984Z",
            "startTimeStamp": "2023-05-25T06:59:00.977Z",
            "endTimeStamp": "2023-05-25T06:59:09.798Z",
        }
    ],
    "transferDetails": [
        {
            "fromAgent": None,
            "transferredType": "OTHERS",
            "transferredTo": [
                {"type": "AGENT", "id": "u-b19cd89e-6533-59af-b491-eec9bf8fxxxx", "name": "John Doe", "emailId": ""}
            ],
            "transferredBy": "u-b19cd89e-6533-59af-b491-eec9bf8fxxxx",
            "priority": "LOW",
            "transferredAt": "2023-05-25T06:58:57.840Z",
            "isManager": True,
        }
    ],
    "waitTime": 4142,
    "isProactiveAgentAssistEnabled": True,
    "status": "CLOSED",
    "callbackOpted": True,
    "contactFlow": [],
    "surveyRequired": "NO",
    "isDeveloper": False,
    "accountId": "637368b4a1d039e34ba6xxxx",
    "phoneNumber": "+18448735673",
    "conversationId": "9a1b6f71-c8af-46dd-8645-d8894047xxxx",
    "language": "en",
    "botSIPURI": "sip:…",
    "CallIDData": "707fea2d0d9dbe5a885cb1c396aexxxx",
    "sentimentTone": {"sentiment": "fear", "emoji": "…", "strength": 2},
    "keyIntentName": "TalkToAgent",
    "keyIntentUserInput": "…",
    "priority": 10,
    "queues": [
        {
            "type": "ASSIGNED",
            "status": "ACTIVE",
            "isPreferredAgentTimeoutExpired": True,
            "id": "qu-241a4d7-e5d0-45a9-8032-82384505xxxx",
            "name": "Jane Doe",
            "startTime": "2023-05-25T06:56:38.734Z",
        }
    ],
    "startTime": "2023-05-25T06:56:38.734Z",
    "endTime": "2023-05-25T06:59:28.234Z",
    "formData": [],
    "timestampValue": 1684997798734,
    "createdAt": "2023-05-25T06:56:38.735Z",
    "updatedAt": "2023-05-25T06:59:28.235Z",
    "__v": 0,
    "skills": [],
    "acceptedAt": "2023-05-25T06:59:00.978Z",
    "notes": [],
    "userInfo": USER_INFO,
    "dispositions": {"status": "UnKnown", "remarks": "…", "dispositionSets": [], "metaStatus": "AGENT_CLOSED"},
}

# Named in the table of "Get a Specific Conversation" and in no sample.
IN_THE_TABLE_ONLY = {"agentDesktopMeta"}


def missing(sample: Any, answer: Any, path: str = "") -> list[str]:
    """The members of a sample that an answer lacks, at any depth; where the answer says nothing, its depth is none."""
    if isinstance(sample, list) and sample and isinstance(answer, list):
        return [name for number, one in enumerate(answer) for name in missing(sample[0], one, f"{path}[{number}]")]
    if isinstance(sample, dict) and isinstance(answer, dict):
        lacking = [f"{path}.{name}" for name in sample if name not in answer]
        shared = [name for name in sample if name in answer]
        return lacking + [more for name in shared for more in missing(sample[name], answer[name], f"{path}.{name}")]
    return []
